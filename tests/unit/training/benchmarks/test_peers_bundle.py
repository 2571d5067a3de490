import asyncio
from itertools import pairwise

import numpy as np
import pytest
import torch

from contract.encoding import Encoder
from contract.fusion import compile_fusion
from service.stores.items import read_items
from tests.peers import NaivePeers
from training.benchmarks.peers_bundle import CANDIDATE_FIELDS, REQUEST_FIELDS, publish_peers, read_peers
from training.errors import CheckpointError
from training.export import graph_session

ROWS_U, ROWS_C = 40, 30


@pytest.fixture(scope="module")
def naive():
    torch.manual_seed(0)
    return NaivePeers(request_rows=ROWS_U, candidate_rows=ROWS_C, dim=4, first=12, last=6, tower=5).eval()


@pytest.fixture(scope="module")
def bundle(naive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    torch.save(naive.state_dict(), folder / "naive.pt")
    return publish_peers(read_peers(folder / "naive.pt"), folder / "models")


def asked(rng, candidates=50):
    return rng.integers(0, ROWS_U, len(REQUEST_FIELDS)), rng.integers(0, ROWS_C, (candidates, len(CANDIDATE_FIELDS)))


def answered(bundle, user, items):
    encoder = Encoder(bundle.manifest.features)
    request = encoder.encode_request(dict(zip(REQUEST_FIELDS, user.tolist(), strict=True)))
    columns = {name: items[:, j].tolist() for j, name in enumerate(CANDIDATE_FIELDS)}
    feeds = {
        "request_ids": request.ids,
        "candidate_ids": encoder.encode("candidate", columns, len(items)).ids,
        "request_index": np.zeros(len(items), np.int64),
    }
    return np.stack(graph_session(bundle.model_path).run(["y0", "y1", "y2", "y3"], feeds), axis=1)


def test_the_numbers_of_the_peers_body_give_the_peers_heads(bundle, naive):
    user, items = asked(np.random.default_rng(1))

    with torch.no_grad():
        wanted = naive(torch.from_numpy(user).expand(len(items), -1), torch.from_numpy(items)).numpy()

    np.testing.assert_allclose(answered(bundle, user, items), wanted, rtol=1e-6, atol=1e-6)


def test_the_formula_gives_the_peers_score(bundle):
    y = answered(bundle, *asked(np.random.default_rng(2)))

    fusion = compile_fusion(bundle.manifest.fusion, bundle.manifest.formula_variables())
    scores, _ = fusion.score({"y0": y[:, 0], "y1": y[:, 1]}, len(y))

    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-y[:, 0])) * np.log1p(np.exp(y[:, 1])), rtol=1e-6)


def test_its_items_are_known_by_number_and_by_nothing_else(bundle):
    store = read_items(bundle.items_path, Encoder(bundle.manifest.features))

    rows = asyncio.run(store.fetch([0, 19_999, 20_000, "0"]))

    assert rows.found.tolist() == [True, True, False, False]
    assert all((a != b).any() for a, b in pairwise(rows.encoded.ids[:3]))


def test_other_weights_are_refused_in_one_sentence(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")

    with pytest.raises(CheckpointError, match="not the peers' network"):
        read_peers(tmp_path / "other.pt")
