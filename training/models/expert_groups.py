"""Experts in groups, each group reading its own input: all of them still one stacked product a layer.

Shapes: G groups of M experts each, so E = G·M; the rest as in :mod:`training.models.layers`.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.models.dropout import Dropout
from training.models.layers import StackedLinear, start_uniform

__all__ = ["GroupedExperts", "GroupedGates", "StackedFactored"]


class StackedFactored(nn.Module):
    """G factored layers side by side, each over its own vectors of both sides.

    ``W_g·[u_g; c_g] + b_g`` as ``(W_ug·u_g + b_g)[request_index] + W_cg·c_g``: the request's share once a request.

    Args:
        groups: G.
        request_dim: Width U; may be 0.
        candidate_dim: Width C; may be 0.
        out: Output width of each layer.
    """

    def __init__(self, groups: int, request_dim: int, candidate_dim: int, out: int) -> None:
        super().__init__()
        # Both halves start as one layer over [u; c] would.
        bound = 1.0 / math.sqrt(max(1, request_dim + candidate_dim))

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.request_GUO = uniform(groups, request_dim, out) if request_dim else None
        self.candidate_GCO = uniform(groups, candidate_dim, out) if candidate_dim else None
        self.bias_G1O = uniform(groups, 1, out)

    def forward(self, u_GRU: Tensor, c_GNC: Tensor, request_index: Tensor) -> Tensor:
        """Give ``[G, N, out]``; both sides may also be ``[1, …]``, one input for all groups."""
        if self.request_GUO is None:
            assert self.candidate_GCO is not None  # noqa: S101 - a schema has at least one field
            return torch.matmul(c_GNC, self.candidate_GCO) + self.bias_G1O
        shared_GRO = torch.matmul(u_GRU, self.request_GUO) + self.bias_G1O
        shared_GNO = shared_GRO.index_select(1, request_index)
        if self.candidate_GCO is None:
            return shared_GNO
        return shared_GNO + torch.matmul(c_GNC, self.candidate_GCO)


class GroupedExperts(nn.Module):
    """G groups of M MLPs, the experts of a group reading one input.

    Args:
        first: Gives the first layers of a group side by side, ``[G, N, M·hidden[0]]``, from whatever it is called
            with; a :class:`StackedFactored` or :class:`~training.models.layers.StackedLinear`.
        groups: G.
        per_group: M.
        hidden: Widths of each expert.
        dropout: Share of units dropped in training.
        last: What follows the last linear layer, ``[E, N, H]`` to the same; ReLU and dropout, as behind all others,
            where None.
    """

    def __init__(
        self,
        first: nn.Module,
        groups: int,
        per_group: int,
        hidden: Sequence[int],
        dropout: float = 0.0,
        *,
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.first = first
        self.per_group, self.first_dim, self.out_dim = per_group, hidden[0], hidden[-1]
        self.deeper = nn.ModuleList(StackedLinear(groups * per_group, a, b) for a, b in pairwise(hidden))
        self.between = nn.Sequential(nn.ReLU(inplace=True), Dropout(dropout))
        self.last = self.between if last is None else last

    def forward(self, *inputs: Tensor, **rest: Tensor) -> Tensor:
        """Give every expert's output, ``[N, E, H]``, group by group."""
        h_GNX: Tensor = self.first(*inputs, **rest)
        h_GNMH = h_GNX.reshape(len(h_GNX), -1, self.per_group, self.first_dim)
        h_ENH = h_GNMH.transpose(1, 2).flatten(0, 1)
        for layer in self.deeper:
            h_ENH = layer(self.between(h_ENH))
        out_ENH: Tensor = self.last(h_ENH)
        return out_ENH.transpose(0, 1)


class GroupedGates(nn.Module):
    """The logits of G gates, each over its own input: linear, or an MLP with ReLU; they start at 0.

    Args:
        read: Makes the layer that reads the input, ``[G, N, out]``, from G and ``out``.
        groups: G.
        hidden: Widths of the layers between; none gives a linear gate.
        out: Experts that each gate chooses from.
    """

    def __init__(self, read: Callable[..., nn.Module], groups: int, hidden: Sequence[int], out: int) -> None:
        super().__init__()
        body = GroupedExperts(read(groups, out=hidden[0]), groups, 1, hidden) if hidden else None
        self.body = body
        self.logits = read(groups, out=out) if body is None else StackedLinear(groups, body.out_dim, out)
        start_uniform(self.logits)

    def forward(self, *inputs: Tensor, **rest: Tensor) -> Tensor:
        """Give ``[N, G, out]``."""
        if self.body is None:
            logits_GNE: Tensor = self.logits(*inputs, **rest)
        else:
            logits_GNE = self.logits(self.body(*inputs, **rest).transpose(0, 1))
        return logits_GNE.transpose(0, 1)
