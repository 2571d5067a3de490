"""The two personalised networks of PEPNet. Source and equations: :mod:`training.models.pepnet`."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from training.models.fields import FieldPicker
from training.models.layers import FactoredLinear, Features

__all__ = ["GAMMA", "EmbeddingGates", "GateUnit", "UnitGates"]

GAMMA = 2.0
"""So that a gate whose last layer gives 0 scales by exactly 1."""


class GateUnit(nn.Module):
    """GateNU: ``gamma · sigmoid(W' relu(first(x)) + b')``; W' and b' start at 0, so every gate starts at 1.

    Args:
        first: The first layer, which may read both sides.
        hidden: Its output width G.
        out: Units to scale.
    """

    def __init__(self, first: nn.Module, hidden: int, out: int) -> None:
        super().__init__()
        self.first, self.out = first, nn.Linear(hidden, out)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, *x: Tensor) -> Tensor:
        """Give the scales, each between 0 and gamma."""
        return GAMMA * torch.sigmoid(self.out(torch.relu(self.first(*x))))


class SidePickers(nn.Module):
    """Chosen fields of both sides, with a gradient, in front of vectors that a gate must not train.

    Args:
        features: Says where the fields stand.
        fields: Names of the chosen.
    """

    def __init__(self, features: Features, fields: Collection[str]) -> None:
        super().__init__()
        self.request = FieldPicker(features.embedding.spans("request"), fields)
        self.candidate = FieldPicker(features.embedding.spans("candidate"), fields)
        self.reads = self.request.width + features.request_dim, self.candidate.width + features.candidate_dim

    def forward(self, u_RU: Tensor, c_NC: Tensor, seen_u_RU: Tensor, seen_c_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Give ``[e; sg(seen)]`` of both sides, e being picked from u and c."""
        return self.request.beside(u_RU, seen_u_RU.detach()), self.candidate.beside(c_NC, seen_c_NC.detach())


class EmbeddingGates(nn.Module):
    """EPNet: scales request columns by the request, candidate columns by both sides.

    Args:
        features: Gives the widths of both sides.
        domain_fields: Read with a gradient.
        hidden: Width G.
    """

    def __init__(self, features: Features, domain_fields: Collection[str], hidden: int) -> None:
        super().__init__()
        self.pickers = SidePickers(features, domain_fields)
        reads_u, reads_c = self.pickers.reads
        request, candidate = features.request_dim, features.candidate_dim
        self.request = GateUnit(nn.Linear(reads_u, hidden), hidden, request) if request else None
        both = FactoredLinear(reads_u, reads_c, hidden)
        self.candidate = GateUnit(both, hidden, candidate) if candidate else None

    def forward(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> tuple[Tensor, Tensor]:
        """Give both sides scaled."""
        read_u, read_c = self.pickers(u_RU, c_NC, u_RU, c_NC)
        if self.request is not None:
            u_RU = u_RU * self.request(read_u)
        if self.candidate is not None:
            c_NC = c_NC * self.candidate(read_u, read_c, request_index)
        return u_RU, c_NC


class UnitGates(nn.Module):
    """PPNet's gates, one a layer of the tasks' networks.

    Args:
        features: Gives the widths of both sides.
        prior_fields: Read with a gradient.
        hidden: Width G.
        widths: Units of each layer, of all tasks together.
    """

    def __init__(self, features: Features, prior_fields: Collection[str], hidden: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.pickers = SidePickers(features, prior_fields)
        reads = self.pickers.reads
        self.layers = nn.ModuleList(GateUnit(FactoredLinear(*reads, hidden), hidden, out) for out in widths)

    def forward(
        self, u_RU: Tensor, c_NC: Tensor, gated_u_RU: Tensor, gated_c_NC: Tensor, request_index: Tensor
    ) -> list[Tensor]:
        """Give the scales of each layer, ``[N, width]``, from the prior of the raw vectors and from the gated ones."""
        reads = self.pickers(u_RU, c_NC, gated_u_RU, gated_c_NC)
        return [gate(*reads, request_index) for gate in self.layers]
