"""The two personalised networks of PEPNet. Source and equations: :mod:`training.models.pepnet`."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from contract.features import FeatureSchema
from training.models.fields import FieldLayout, FieldPicker
from training.models.layers import FactoredLinear

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
        schema: Has the fields.
        dim: Width D of an id field's vector.
        fields: Names of the chosen.
    """

    def __init__(self, schema: FeatureSchema, dim: int, fields: Collection[str]) -> None:
        super().__init__()
        layouts = FieldLayout(schema, "request", dim), FieldLayout(schema, "candidate", dim)
        self.request, self.candidate = (FieldPicker(layout.columns(fields)) for layout in layouts)
        widths = [len(layout.field_of_column) for layout in layouts]
        self.reads = self.request.width + widths[0], self.candidate.width + widths[1]

    def forward(self, u_RU: Tensor, c_NC: Tensor, seen_u_RU: Tensor, seen_c_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Give ``[e; sg(seen)]`` of both sides, e being picked from u and c."""
        return self.request.beside(u_RU, seen_u_RU.detach()), self.candidate.beside(c_NC, seen_c_NC.detach())


class EmbeddingGates(nn.Module):
    """EPNet: scales request columns by the request, candidate columns by both sides.

    Args:
        pickers: Of the domain fields.
        request_dim: U; may be 0.
        candidate_dim: C; may be 0.
        hidden: Width G.
    """

    def __init__(self, pickers: SidePickers, request_dim: int, candidate_dim: int, hidden: int) -> None:
        super().__init__()
        reads_u, reads_c = pickers.reads
        self.pickers = pickers
        self.request = GateUnit(nn.Linear(reads_u, hidden), hidden, request_dim) if request_dim else None
        both = FactoredLinear(reads_u, reads_c, hidden)
        self.candidate = GateUnit(both, hidden, candidate_dim) if candidate_dim else None

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
        pickers: Of the prior fields.
        hidden: Width G.
        widths: Units of each layer, of all tasks together.
    """

    def __init__(self, pickers: SidePickers, hidden: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.pickers = pickers
        self.layers = nn.ModuleList(GateUnit(FactoredLinear(*pickers.reads, hidden), hidden, out) for out in widths)

    def forward(
        self, u_RU: Tensor, c_NC: Tensor, gated_u_RU: Tensor, gated_c_NC: Tensor, request_index: Tensor
    ) -> list[Tensor]:
        """Give the scales of each layer, ``[N, width]``, from the prior of the raw vectors and from the gated ones."""
        reads = self.pickers(u_RU, c_NC, gated_u_RU, gated_c_NC)
        return [gate(*reads, request_index) for gate in self.layers]
