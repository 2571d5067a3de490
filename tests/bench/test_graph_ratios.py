"""What the factored, the pre-activated and the 8-bit graphs save, held as ratios to the naive graph in one process.

Processor time of one thread, not the clock: it does not count other processes' turns. All graphs run in turn, so
whatever slows the machine slows all of them. The bounds leave room over what was measured (docs/benchmarks/log.md)
and still fail when a saving is lost: without it a ratio is 1.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.arrays import GraphInputs
from contract.encoding import Encoder
from contract.manifest import TensorSpec
from service.runtime.onnx import OnnxRuntime, open_session
from service.runtime.preactivated import open_halves, preactivate
from service.stores.items import read_items
from tests.peers import NaivePeers
from training.benchmarks.peers_bundle import CANDIDATE_FIELDS, ITEMS, REQUEST_FIELDS, publish_peers, read_peers
from training.export import write_graph

pytestmark = pytest.mark.slow
CANDIDATES, ROUNDS = 500, 25
HAS_VNNI = "vnni" in Path("/proc/cpuinfo").read_text()


@pytest.fixture(scope="module")
def ratios(tmp_path_factory):
    """Seconds of each way to score one request, as shares of the naive graph's."""
    folder = tmp_path_factory.mktemp("peers")
    torch.manual_seed(0)
    naive = NaivePeers(request_rows=24_000, candidate_rows=16_000, dim=16, first=256, last=128, tower=64).eval()
    torch.save(naive.state_dict(), folder / "naive.pt")
    peers = read_peers(folder / "naive.pt")
    rng = np.random.default_rng(0)
    user, rows = rng.integers(0, 24_000, (1, len(REQUEST_FIELDS))), rng.integers(0, ITEMS, CANDIDATES)
    ways, items = {}, None
    for name, int8 in (("float", False), ("int8", True)):
        bundle = publish_peers(peers, folder / "models", name=name, int8=int8)
        encoder = Encoder(bundle.manifest.features)
        items = read_items(bundle.items_path, encoder).encoded
        whole = OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=1)
        by_id = preactivate(bundle, whole, open_halves(bundle, threads=1), items, most_bytes=2**30)
        request = encoder.encode_request(dict(zip(REQUEST_FIELDS, user[0].tolist(), strict=True)))
        inputs = GraphInputs.single(request, items.take(rows), rows)
        ways[f"{name} inline"] = lambda run=whole.run, given=inputs: run(given)
        ways[f"{name} by id"] = lambda run=by_id.run, given=inputs: run(given)
    feeds = {"xu": np.repeat(user, CANDIDATES, axis=0), "xi": items.take(rows).ids - 2}
    session = _naive_session(naive, feeds, folder / "naive.onnx")
    return _shares({"naive": lambda: session.run(None, feeds), **ways})


def _naive_session(naive, feeds, path):
    inputs = [
        TensorSpec(name="xu", dtype="int64", shape=("N", len(REQUEST_FIELDS))),
        TensorSpec(name="xi", dtype="int64", shape=("N", len(CANDIDATE_FIELDS))),
    ]
    write_graph(naive, inputs, ["y"], feeds, path)
    return open_session(path, threads=1)


def _shares(ways):
    spent = {name: [] for name in ways}
    for _ in range(3 + ROUNDS):
        for name, run in ways.items():
            begin = time.thread_time()
            run()
            spent[name].append(time.thread_time() - begin)
    medians = {name: statistics.median(times[3:]) for name, times in spent.items()}
    return {name: seconds / medians["naive"] for name, seconds in medians.items()}


def test_features_in_the_request_cost_less_than_four_fifths_of_the_naive_graph(ratios):
    assert ratios["float inline"] < 0.8, ratios


def test_known_items_cost_less_than_three_fifths_of_the_naive_graph(ratios):
    assert ratios["float by id"] < 0.6, ratios


@pytest.mark.skipif(not HAS_VNNI, reason="8-bit products are only fast on processors with VNNI")
def test_8_bit_weights_halve_the_naive_graph_with_features_and_more_than_halve_it_by_id(ratios):
    assert ratios["int8 inline"] < 0.5, ratios
    assert ratios["int8 by id"] < 0.35, ratios
