"""A loaded version, and how it comes and goes: tiny bundles on the real ONNX Runtime."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

from contract.calibration import apply_calibration
from contract.encoding import Encoder
from service.errors import ShuttingDown
from service.runtime.batcher import Batcher
from service.runtime.gate import check_golden, example_body
from service.runtime.model import LoadedModel
from service.runtime.onnx import OnnxRuntime
from service.runtime.registry import ModelRegistry
from tests.factories import HEADS, publish_tiny, tiny_inputs, tiny_outputs
from tests.fakes import PATIENCE_S, FakeItemStore, ManualClock, Recorder


def load(bundle):
    encoder, golden = Encoder(bundle.manifest.features), bundle.golden()
    runtime = OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=1)
    check_golden(bundle, golden, encoder, runtime)
    batcher = Batcher(
        runtime.run,
        max_batch_rows=100,
        max_waiting_rows=100,
        workers=1,
        clock=ManualClock(),
        observer=Recorder(),
    )
    return LoadedModel(
        bundle=bundle,
        encoder=encoder,
        items=FakeItemStore(encoder),
        runtime=runtime,
        batcher=batcher,
        example=example_body(bundle.manifest.name, golden),
    )


def registry_of(folder, load=load):
    return ModelRegistry(folder, load=load, accept=lambda new, old: None, observer=Recorder())


def test_heads_are_calibrated_as_the_manifest_says(tmp_path):
    bundle, inputs = publish_tiny(tmp_path), tiny_inputs(9)

    async def scenario():
        model = load(bundle)
        try:
            return await model.predict(inputs, deadline=None)
        finally:
            await model.aclose()

    heads = asyncio.run(scenario()).heads

    raw = tiny_outputs(inputs)
    assert set(heads) == set(HEADS)
    for head in bundle.manifest.heads:
        np.testing.assert_allclose(
            heads[head.name], apply_calibration(head.calibration, raw[head.output]), rtol=1e-5, atol=1e-6
        )
    assert not np.allclose(heads["ctr"], raw["ctr"])


def test_a_closed_model_refuses_and_may_be_closed_again(tmp_path):
    async def scenario():
        model = load(publish_tiny(tmp_path))
        await model.aclose()
        await model.aclose()
        await model.predict(tiny_inputs(1), deadline=None)

    with pytest.raises(ShuttingDown):
        asyncio.run(scenario())


def test_a_replaced_version_answers_who_holds_it_and_then_frees_its_graph_and_threads(tmp_path):
    inputs = tiny_inputs(3)

    async def scenario():
        publish_tiny(tmp_path, gain=1.0)
        registry = registry_of(tmp_path)
        await registry.refresh()
        held = registry.current("tiny")
        publish_tiny(tmp_path, gain=2.0)
        await registry.refresh()
        old = (await held.predict(inputs, deadline=None)).heads["log_duration"]
        new = (await registry.current("tiny").predict(inputs, deadline=None)).heads["log_duration"]
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("fulcrum-infer")]
        gone = weakref.ref(held)
        del held
        gc.collect()
        alive = gone() is not None
        await registry.aclose()
        return old, new, alive, threads

    old, new, alive, threads = asyncio.run(scenario())

    np.testing.assert_allclose(new, 2 * old, rtol=1e-5)
    assert not alive
    assert len(threads) == 2
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_a_bundle_that_breaks_in_a_way_nobody_foresaw_does_not_stop_the_others(tmp_path):
    publish_tiny(tmp_path, "bad")
    publish_tiny(tmp_path, "good")

    def fragile(bundle):
        if bundle.manifest.name == "bad":
            raise PermissionError("the disk says no")
        return load(bundle)

    async def scenario():
        registry = registry_of(tmp_path, fragile)
        await registry.refresh()
        await registry.aclose()
        return [model.manifest.name for model in registry.all()], dict(registry.rejections())

    served, rejected = asyncio.run(scenario())

    assert served == ["good"]
    assert rejected == {"bad/1": "PermissionError: the disk says no"}
