"""Layers of the star topology: one centre that all share, and one factor for each partition.

Source and equations: :mod:`training.models.star`. Shape letters: P partitions, I inputs, O outputs.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.models.dropout import Dropout
from training.models.layers import Features
from training.models.partitioned_norm import PartitionedNorm

__all__ = ["Dense", "StarFirst", "StarLinear", "StarMlp"]


class Dense(nn.Module):
    """A weight ``[…, I, O]`` and a bias ``[…, O]``."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)


class StarLinear(nn.Module):
    """P linear layers, ``[P, N, I]`` or ``[N, I]`` to ``[P, N, O]``: ``W_p* = W_p ∘ W``, ``b_p* = b_p + b``.

    Every W_p starts at 1 and every b_p at 0, so all partitions start as the centre. Were both factors drawn at
    random, their products would be too small to train on (Scenario-Wise-Rec does so). W_p is kept as its difference
    from 1: weight decay draws it to the centre, and a partition without data stays there.
    """

    def __init__(self, partitions: int, in_dim: int, out: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(max(1, in_dim))
        self.centre = Dense(torch.empty(in_dim, out).uniform_(-bound, bound), torch.empty(out).uniform_(-bound, bound))
        self.own = Dense(torch.zeros(partitions, in_dim, out), torch.zeros(partitions, out))

    def combined(self) -> tuple[Tensor, Tensor]:
        """Give the weights ``[P, I, O]`` and biases ``[P, 1, O]`` of all partitions; constants of an exported graph."""
        return self.centre.weight * (1.0 + self.own.weight), (self.centre.bias + self.own.bias).unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply every partition's layer."""
        weight_PIO, bias_P1O = self.combined()
        return torch.matmul(x, weight_PIO) + bias_P1O


class StarFirst(nn.Module):
    """A star layer over both sides, the request's half computed once a request; normalises on the way.

    ``W (s ∘ x + t) + b`` is ``(W ∘ s) x + (W t + b)``, so the normalisation costs nothing a candidate.

    Args:
        features: Gives the widths U and C of both sides.
        partitions: P.
        out: Output width O.
        norm_partitions: Partitions that have statistics of their own, P or 1; 0 leaves the inputs as they are.
    """

    def __init__(self, features: Features, partitions: int, out: int, norm_partitions: int) -> None:
        super().__init__()
        self.request_dim = features.request_dim
        self.star = StarLinear(partitions, features.request_dim + features.candidate_dim, out)
        widths = {"request": features.request_dim, "candidate": features.candidate_dim}
        wanted = {side: width for side, width in widths.items() if norm_partitions and width}
        self.norms = nn.ModuleDict({side: PartitionedNorm(norm_partitions, width) for side, width in wanted.items()})

    def forward(
        self,
        u_RU: Tensor,
        c_NC: Tensor,
        request_index: Tensor,
        weight_RP: Tensor | None = None,
        weight_NP: Tensor | None = None,
    ) -> Tensor:
        """Give ``[P, N, O]``.

        Args:
            u_RU: Request vectors.
            c_NC: Candidate vectors.
            request_index: ``[N]``.
            weight_RP: In training, how many rows of partition p each request stands for.
            weight_NP: The same of candidates.
        """
        weight_PIO, bias_P1O = self.star.combined()
        w_u_PUO, w_c_PCO = weight_PIO[:, : self.request_dim], weight_PIO[:, self.request_dim :]
        w_u_PUO, bias_P1O = self._folded("request", u_RU, weight_RP, w_u_PUO, bias_P1O)
        w_c_PCO, bias_P1O = self._folded("candidate", c_NC, weight_NP, w_c_PCO, bias_P1O)
        if self.request_dim == 0:
            return torch.matmul(c_NC, w_c_PCO) + bias_P1O
        shared_PRO = torch.matmul(u_RU, w_u_PUO) + bias_P1O
        shared_PNO = shared_PRO.index_select(1, request_index)
        return shared_PNO + torch.matmul(c_NC, w_c_PCO) if c_NC.shape[1] else shared_PNO

    def _folded(
        self, side: str, x_XV: Tensor, weight_XP: Tensor | None, weight_PVO: Tensor, bias_P1O: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take one side's normalisation into its weights and the bias."""
        if side not in self.norms:
            return weight_PVO, bias_P1O
        scale_PV, shift_PV = self.norms[side](x_XV, weight_XP if self.training else None)
        return weight_PVO * scale_PV.unsqueeze(2), bias_P1O + torch.matmul(shift_PV.unsqueeze(1), weight_PVO)


class StarMlp(nn.Module):
    """``[star layer → ReLU → dropout]`` for each width, ``[P, N, I] → [P, N, O]``."""

    def __init__(self, partitions: int, in_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(StarLinear(partitions, a, b) for a, b in pairwise((in_dim, *hidden)))
        self.dropout = Dropout(dropout)

    def forward(self, x_PNI: Tensor) -> Tensor:
        """Apply all layers."""
        for layer in self.layers:
            x_PNI = self.dropout(torch.relu(layer(x_PNI)))
        return x_PNI
