import asyncio
import json

import numpy as np
import pytest

from contract.arrays import GraphInputs
from contract.encoding import Encoder
from contract.manifest import Manifest
from service.errors import InferenceFailed, ModelRejected
from service.runtime.gate import check_halves
from service.runtime.onnx import OnnxRuntime
from service.runtime.preactivated import open_halves, preactivate
from service.stores.items import MemoryItemStore
from tests.halves import ITEMS, publish_halved


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return publish_halved(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def catalogue(bundle):
    return Encoder(bundle.manifest.features).encode("candidate", ITEMS, len(ITEMS["topic"]))


def whole_of(bundle):
    return OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=1)


class Counting:
    """The whole graph, which counts the candidates that it was asked for."""

    def __init__(self, runtime):
        self.runtime, self.rows = runtime, 0

    def run(self, inputs):
        self.rows += len(inputs.request_index)
        return self.runtime.run(inputs)

    def close(self):
        self.runtime.close()


def asked(bundle, catalogue, rows, *, requests=2):
    rng = np.random.default_rng(3)
    hours = Encoder(bundle.manifest.features).encode("request", {"hour": rng.uniform(0, 24, requests)}, requests)
    index = np.sort(rng.integers(0, requests, len(rows)))
    return GraphInputs(request=hours, candidate=catalogue.take(rows), request_index=index, rows=rows)


def same(got, want):
    assert got.keys() == want.keys()
    for name, values in want.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 17, 256])
def test_known_items_give_the_numbers_of_the_whole_graph_without_running_it(bundle, catalogue, size):
    whole = Counting(whole_of(bundle))
    runtime = preactivate(bundle, whole, open_halves(bundle, threads=1), catalogue, most_bytes=2**20)
    inputs = asked(bundle, catalogue, np.random.default_rng(size).integers(0, len(catalogue), size))

    same(runtime.run(inputs), whole_of(bundle).run(inputs))
    assert whole.rows == 0


def test_only_the_candidates_that_are_not_as_the_table_has_them_run_the_whole_graph(bundle, catalogue):
    whole = Counting(whole_of(bundle))
    runtime = preactivate(bundle, whole, open_halves(bundle, threads=1), catalogue, most_bytes=2**20)
    inputs = asked(bundle, catalogue, np.array([0, 5, 5, 2, 7]))
    inputs.candidate.dense[1] += 1.0
    inputs.rows[1] = -1

    same(runtime.run(inputs), whole_of(bundle).run(inputs))
    assert whole.rows == 1


def test_requests_by_id_and_requests_with_features_share_a_batch(bundle, catalogue):
    runtime = preactivate(bundle, whole_of(bundle), open_halves(bundle, threads=1), catalogue, most_bytes=2**20)
    by_id, inline = (asked(bundle, catalogue, np.arange(n), requests=1) for n in (4, 3))
    inline = GraphInputs(request=inline.request, candidate=inline.candidate, request_index=inline.request_index)

    together = runtime.run(GraphInputs.merge([by_id, inline, by_id]))

    parts = [whole_of(bundle).run(part) for part in (by_id, inline, by_id)]
    same(together, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def test_beyond_its_memory_the_first_items_are_kept(bundle, catalogue):
    whole, halves = Counting(whole_of(bundle)), open_halves(bundle, threads=1)
    runtime = preactivate(bundle, whole, halves, catalogue, most_bytes=3 * halves.spec.item_bytes + 1)
    inputs = asked(bundle, catalogue, np.array([0, 2, 3, 6]))

    same(runtime.run(inputs), whole_of(bundle).run(inputs))
    assert whole.rows == 2


def test_a_bundle_without_the_two_graphs_and_a_service_without_the_memory_run_the_whole_graph(bundle, catalogue):
    whole, halves = whole_of(bundle), open_halves(bundle, threads=1)

    assert preactivate(bundle, whole, None, catalogue, most_bytes=2**20) is whole
    assert preactivate(bundle, whole, halves, catalogue, most_bytes=0) is whole


def test_a_closed_graph_says_so(bundle, catalogue):
    runtime = preactivate(bundle, whole_of(bundle), open_halves(bundle, threads=1), catalogue, most_bytes=2**20)
    runtime.close()
    runtime.close()

    with pytest.raises(InferenceFailed, match="closed"):
        runtime.run(asked(bundle, catalogue, np.arange(2)))


def test_the_gate_refuses_halves_that_are_not_the_whole(tmp_path):
    right, wrong = publish_halved(tmp_path), publish_halved(tmp_path, suffix_gain=1.01)

    for bundle in (right, wrong):
        encoder, golden = Encoder(bundle.manifest.features), bundle.golden()
        halves = open_halves(bundle, threads=1)
        if bundle is right:
            check_halves(bundle, golden, encoder, halves)
        else:
            with pytest.raises(ModelRejected, match="another 'ctr'"):
                check_halves(bundle, golden, encoder, halves)


def test_halves_that_the_manifest_describes_otherwise_are_refused(tmp_path):
    bundle = publish_halved(tmp_path)
    spec = bundle.manifest.preactivation
    wider = spec.shares[0].model_copy(update={"shape": ("K", 9)})

    with pytest.raises(ModelRejected, match=r"share\.sum"):
        type(open_halves(bundle, threads=1)).open(bundle, spec.model_copy(update={"shares": (wider,)}), threads=1)


def test_a_manifest_that_names_halves_without_their_files_is_refused(tmp_path):
    document = json.loads((publish_halved(tmp_path).path / "manifest.json").read_text())
    del document["files"]["suffix.onnx"]

    with pytest.raises(ValueError, match=r"suffix\.onnx"):
        Manifest.model_validate(document)


def test_an_item_table_says_where_its_items_stand_unless_the_request_changed_them(bundle):
    encoder = Encoder(bundle.manifest.features)
    store = MemoryItemStore.build(encoder, [f"i{n}" for n in range(8)], ITEMS)
    items = asyncio.run(store.fetch(["i3", "nobody", "i0"]))
    price = ITEMS["price"][3]

    assert items.rows_unless_changed(items.encoded).tolist() == [3, 8, 0]
    changed = encoder.overlay(items.encoded, {"price": [price, None, 99.0]})
    assert items.rows_unless_changed(changed).tolist() == [3, 8, -1]
