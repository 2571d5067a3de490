import asyncio
import json
import shutil
from dataclasses import replace

import pytest

from contract.arrays import GraphInputs
from contract.bundle import Golden, sha256_of
from contract.encoding import Encoder
from service.errors import ModelRejected, NotReady, UnknownModel
from service.runtime.batcher import Batcher
from service.runtime.gate import check_golden, example_body
from service.runtime.model import LoadedModel
from service.runtime.onnx import OnnxRuntime
from service.runtime.registry import ModelRegistry
from service.stores.items import MemoryItemStore
from tests.conftest import ROOT
from tests.fakes import ManualClock, Recorder


def load(bundle):
    encoder, golden = Encoder(bundle.manifest.features), bundle.golden()
    runtime = OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=1)
    check_golden(bundle, golden, encoder, runtime)
    batcher = Batcher(
        runtime.run,
        max_batch_rows=1000,
        max_waiting_rows=1000,
        workers=1,
        clock=ManualClock(),
        observer=Recorder(),
    )
    return LoadedModel(
        bundle=bundle,
        encoder=encoder,
        items=MemoryItemStore.build(encoder, [], {}),
        runtime=runtime,
        batcher=batcher,
        example=example_body(bundle.manifest.name, golden),
    )


@pytest.fixture
def observer():
    return Recorder()


@pytest.fixture
def registry(tmp_path, observer):
    return ModelRegistry(tmp_path, load=load, accept=lambda new, old: None, observer=observer)


def put(models, version, *, name="demo", change=None):
    """Copy the demo bundle to a place, and change it there."""
    place = models / name / str(version)
    shutil.copytree(ROOT / "models_onnx" / "demo" / "1", place)
    if change is not None:
        change(place)


def seal(place, **updates):
    """Write checksums that fit the files, so that only what lies behind them can catch a change."""
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"] = {name: sha256_of(place / name) for name in manifest["files"]}
    (place / "manifest.json").write_text(json.dumps({**manifest, **updates}))


def rename(place, name):
    seal(place, name=name)


def other_golden_head(place):
    golden = Golden.load(place / "golden.npz")
    replace(golden, heads={**golden.heads, "ctr": golden.heads["ctr"] + 0.01}).save(place / "golden.npz")
    seal(place)


def lost_golden_head(place):
    golden = Golden.load(place / "golden.npz")
    replace(golden, heads={"like": golden.heads["like"]}).save(place / "golden.npz")
    seal(place)


def garbage_golden(place):
    (place / "golden.npz").write_bytes(b"not an archive")
    seal(place)


def unsealed_model(place):
    with (place / "model.onnx").open("ab") as file:
        file.write(b"\0")


def garbage_model(place):
    (place / "model.onnx").write_bytes(b"not a graph")
    seal(place)


def missing_model(place):
    (place / "model.onnx").unlink()


def garbage_manifest(place):
    (place / "manifest.json").write_text("{")


def other_scaling(place):
    manifest = json.loads((place / "manifest.json").read_text())
    for field in manifest["features"]["fields"]:
        if field["name"] == "price":
            field["scaling"]["mean"] += 0.5
    seal(place, features=manifest["features"])


def other_inputs(place):
    manifest = json.loads((place / "manifest.json").read_text())
    seal(place, inputs=manifest["inputs"][1:])


def of_another_name(place):
    rename(place, "someone")


TAMPERINGS = [
    other_golden_head,
    lost_golden_head,
    garbage_golden,
    unsealed_model,
    garbage_model,
    missing_model,
    garbage_manifest,
    other_scaling,
    other_inputs,
    of_another_name,
]


async def score(model):
    query = model.example
    columns = {name: column for name, column in query["candidates"].items() if name != "item_id"}
    inputs = GraphInputs.single(
        model.encoder.encode_request(query["request"]),
        model.encoder.encode("candidate", columns, len(query["candidates"]["item_id"])),
    )
    return (await model.predict(inputs, deadline=None)).heads["ctr"]


def test_before_anything_is_loaded_the_service_is_not_ready(registry):
    asyncio.run(registry.refresh())

    with pytest.raises(NotReady):
        registry.current(None)


def test_the_newest_version_serves(tmp_path, registry, observer):
    put(tmp_path, 1)
    put(tmp_path, 10)
    put(tmp_path, 9)

    asyncio.run(registry.refresh())

    assert registry.current("demo").version == 10
    assert observer.swaps == ["loaded"]


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_broken_version_is_rejected_and_the_last_good_one_keeps_serving(tmp_path, registry, observer, tamper):
    async def scenario():
        put(tmp_path, 1)
        await registry.refresh()
        put(tmp_path, 2, change=tamper)
        await registry.refresh()
        heads = await score(registry.current("demo"))
        await registry.aclose()
        return heads

    heads = asyncio.run(scenario())

    assert registry.current("demo").version == 1
    assert ((heads > 0) & (heads < 1)).all()
    assert list(registry.rejections()) == ["demo/2"]
    assert observer.swaps == ["loaded", "rejected"]


def test_at_the_start_an_older_good_version_serves_when_the_newest_is_broken(tmp_path, registry):
    put(tmp_path, 1)
    put(tmp_path, 2, change=other_golden_head)

    asyncio.run(registry.refresh())

    assert registry.current("demo").version == 1


def test_a_rejected_version_is_not_tried_again_and_a_fixed_one_above_it_serves(tmp_path, registry, observer):
    put(tmp_path, 1, change=other_golden_head)
    asyncio.run(registry.refresh())
    asyncio.run(registry.refresh())
    put(tmp_path, 2)
    asyncio.run(registry.refresh())

    assert observer.swaps == ["rejected", "loaded"]
    assert registry.current("demo").version == 2


def test_a_version_that_is_not_accepted_changes_nothing(tmp_path, observer):
    def accept(new, old):
        if old is not None:
            raise ModelRejected("the live profile would break")

    registry = ModelRegistry(tmp_path, load=load, accept=accept, observer=observer)
    put(tmp_path, 1)
    asyncio.run(registry.refresh())
    put(tmp_path, 2)
    asyncio.run(registry.refresh())

    assert registry.current("demo").version == 1
    assert registry.rejections() == {"demo/2": "the live profile would break"}


def test_a_request_that_holds_the_old_version_finishes_on_it(tmp_path, registry):
    async def scenario():
        put(tmp_path, 1)
        await registry.refresh()
        held = registry.current("demo")
        put(tmp_path, 2)
        await registry.refresh()
        heads = await score(held)
        await held.aclose()
        await registry.aclose()
        return held, heads

    held, heads = asyncio.run(scenario())

    assert held.version == 1
    assert registry.current("demo").version == 2
    assert len(heads) == len(held.example["candidates"]["item_id"])


def test_of_several_models_one_must_be_named(tmp_path, registry):
    put(tmp_path, 1)
    put(tmp_path, 1, name="other", change=lambda place: rename(place, "other"))
    asyncio.run(registry.refresh())

    assert [model.manifest.name for model in registry.all()] == ["demo", "other"]
    assert registry.current("other").manifest.name == "other"
    with pytest.raises(UnknownModel, match="several"):
        registry.current(None)
    with pytest.raises(UnknownModel, match="nobody"):
        registry.current("nobody")
