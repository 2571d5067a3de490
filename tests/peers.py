"""The peers' network: users are tiled, nothing is factored."""

import torch
from torch import nn

from training.benchmarks.peers_bundle import CANDIDATE_FIELDS, REQUEST_FIELDS

EXPERTS, TASKS = 8, 4


class NaivePeers(nn.Module):
    """The weights have the names that ``shared/peers/make_model.py`` gives them; sizes are free."""

    def __init__(self, *, request_rows, candidate_rows, dim, first, last, tower):
        super().__init__()
        width = (len(REQUEST_FIELDS) + len(CANDIDATE_FIELDS)) * dim
        self.first = first
        self.eu, self.ei = nn.Embedding(request_rows, dim), nn.Embedding(candidate_rows, dim)
        self.w1, self.gate = nn.Linear(width, EXPERTS * first), nn.Linear(width, TASKS * EXPERTS)
        self.w2 = nn.Parameter(torch.randn(EXPERTS, first, last) * 0.06)
        self.b2 = nn.Parameter(torch.randn(EXPERTS, 1, last) * 0.06)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(last, tower), nn.ReLU(), nn.Linear(tower, 1)) for _ in range(TASKS)
        )

    def forward(self, *rows):
        """Give raw outputs ``[N, 4]`` from rows of the tables, ``[N, 24]`` and ``[N, 16]``."""
        xu, xi = rows
        x = torch.cat([self.eu(xu).flatten(1), self.ei(xi).flatten(1)], 1)
        h = torch.relu(self.w1(x)).reshape(-1, EXPERTS, self.first).transpose(0, 1)
        e = torch.relu(torch.bmm(h, self.w2) + self.b2)
        g = torch.softmax(self.gate(x).reshape(-1, TASKS, EXPERTS), -1)
        m = torch.bmm(g, e.permute(1, 0, 2))
        return torch.cat([t(m[:, k]) for k, t in enumerate(self.towers)], 1)
