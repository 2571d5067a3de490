import asyncio
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from contract.encoding import Encoder
from contract.fusion import compile_fusion
from service.stores.items import read_items
from training.benchmarks.peers_bundle import CANDIDATE_FIELDS, REQUEST_FIELDS, publish_peers, read_peers
from training.errors import CheckpointError
from training.export import graph_session

ROWS_U, ROWS_C, D, E, H1, H2, T = 40, 30, 4, 8, 12, 6, 4


class Naive(nn.Module):
    """The peers' network, small: users are tiled, nothing is factored."""

    def __init__(self):
        super().__init__()
        width = (len(REQUEST_FIELDS) + len(CANDIDATE_FIELDS)) * D
        self.eu, self.ei = nn.Embedding(ROWS_U, D), nn.Embedding(ROWS_C, D)
        self.w1, self.gate = nn.Linear(width, E * H1), nn.Linear(width, T * E)
        self.w2, self.b2 = nn.Parameter(torch.randn(E, H1, H2)), nn.Parameter(torch.randn(E, 1, H2))
        self.towers = nn.ModuleList(nn.Sequential(nn.Linear(H2, 5), nn.ReLU(), nn.Linear(5, 1)) for _ in range(T))

    def forward(self, xu, xi):
        x = torch.cat([self.eu(xu).flatten(1), self.ei(xi).flatten(1)], 1)
        h = torch.relu(self.w1(x)).reshape(-1, E, H1).transpose(0, 1)
        e = torch.relu(torch.bmm(h, self.w2) + self.b2)
        g = torch.softmax(self.gate(x).reshape(-1, T, E), -1)
        m = torch.bmm(g, e.permute(1, 0, 2))
        return torch.cat([t(m[:, k]) for k, t in enumerate(self.towers)], 1)


@pytest.fixture(scope="module")
def naive():
    torch.manual_seed(0)
    return Naive().eval()


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
