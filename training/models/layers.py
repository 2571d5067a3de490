"""Layers that every architecture shares: both sides embedded, the factored linear layer, MLPs.

Shape letters: R requests, N candidates of all requests, F id columns, D embedding width, U request width,
C candidate width, H hidden width, E experts, T tasks.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contract.features import FeatureSchema
from training.inputs import TensorInputs
from training.models.dropout import Dropout
from training.models.embedding import ATTENTION_HIDDEN, FeatureEmbedding
from training.shares import CandidateShares

__all__ = [
    "Experts",
    "FactoredLinear",
    "FeatureEmbedding",
    "Features",
    "Mlp",
    "StackedLinear",
    "start_uniform",
    "tower",
]


class FactoredLinear(nn.Module):
    """``W·[u; c] + b``, computed as ``(W_u·u + b)[request_index] + W_c·c``.

    Exact, and the request's share is computed once a request instead of once a candidate (known in the field
    as request-only optimisation).

    Args:
        request_dim: Width U; may be 0.
        candidate_dim: Width C; may be 0.
        out: Output width H.
    """

    def __init__(self, request_dim: int, candidate_dim: int, out: int) -> None:
        super().__init__()
        # Set where a network is cut in two. A name, as a tracer calls a stand-in that is another object.
        self.share_name = ""
        self.request = nn.Linear(request_dim, out) if request_dim else None
        self.candidate = nn.Linear(candidate_dim, out, bias=request_dim == 0) if candidate_dim else None
        # Both halves start as one layer over [u; c] would.
        bound = 1.0 / math.sqrt(max(1, request_dim + candidate_dim))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give ``[N, H]``."""
        if self.request is None:
            assert self.candidate is not None  # noqa: S101 - a schema has at least one field
            if isinstance(c_NC, CandidateShares):
                return c_NC.share(self, slice(None))
            return torch.as_tensor(self.candidate(c_NC))
        shared_NH: Tensor = self.request(u_RU).index_select(0, request_index)
        if self.candidate is None:
            return shared_NH
        if isinstance(c_NC, CandidateShares):
            return shared_NH + c_NC.share(self, slice(None))
        # The product starts from the request's share: no pass over [N, H] more for the sum.
        return torch.addmm(shared_NH, c_NC, self.candidate.weight.t())

    def parts(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor, count: int) -> Iterator[Tensor]:
        """Give the result in *count* equal parts of its columns, ``[N, H / count]`` each; for graphs.

        A part of a table's columns is taken as rows of a narrower table, so nothing is cut or moved twice.
        """
        assert self.request is not None  # noqa: S101 - who calls has asked
        assert self.candidate is not None  # noqa: S101
        width = self.request.out_features // count
        shared_RH = self.request(u_RU).reshape(-1, width)
        for part in range(count):
            outputs = slice(part * width, (part + 1) * width)
            shared_NH = F.embedding(request_index * count + part, shared_RH)  # exports as one Gather
            if isinstance(c_NC, CandidateShares):
                yield shared_NH + c_NC.share(self, outputs)
            else:
                yield torch.addmm(shared_NH, c_NC, self.candidate.weight[outputs].t())

    @property
    def reads_both(self) -> bool:
        """Tell whether the layer has both halves."""
        return self.request is not None and self.candidate is not None


class Features(nn.Module):
    """Vectors of both sides and the widths that the next layer needs."""

    def __init__(self, schema: FeatureSchema, dim: int, attention_hidden: int = ATTENTION_HIDDEN) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(schema, dim, attention_hidden)
        self.request_dim = self.embedding.request_dim
        self.candidate_dim = self.embedding.candidate_dim

    def first_layer(self, out: int) -> FactoredLinear:
        """Make a layer that reads both sides."""
        return FactoredLinear(self.request_dim, self.candidate_dim, out)

    def forward(self, inputs: TensorInputs) -> tuple[Tensor, Tensor]:
        """Give request vectors ``[R, U]`` and candidate vectors ``[N, C]``."""
        if inputs.shares is not None:
            return self.embedding.embed_request(inputs), cast(Tensor, inputs.shares.of(self))
        vectors: tuple[Tensor, Tensor] = self.embedding(inputs)
        return vectors


class Mlp(nn.Module):
    """``[Linear → ReLU → dropout]`` for each width.

    Args:
        in_dim: Width of the input.
        hidden: Output widths; empty gives the identity.
        dropout: Share of units dropped in training.
    """

    def __init__(self, in_dim: int, hidden: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(in_dim, width), nn.ReLU(), Dropout(dropout)]
            in_dim = width
        self.layers = nn.Sequential(*layers)
        self.out_dim = in_dim

    def forward(self, x: Tensor) -> Tensor:
        """Give ``[…, hidden[-1]]``."""
        return torch.as_tensor(self.layers(x))


def tower(in_dim: int, hidden: Sequence[int], dropout: float = 0.0, *, out: int = 1) -> nn.Sequential:
    """Make a task's tower: an MLP and a linear layer without activation; ``[N, in_dim] → [N, out]``."""
    body = Mlp(in_dim, hidden, dropout)
    return nn.Sequential(body, nn.Linear(body.out_dim, out))


class StackedLinear(nn.Module):
    """E linear layers side by side, ``[E, N, I] → [E, N, O]``, each started as a linear layer of its own."""

    def __init__(self, stack: int, in_dim: int, out: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(in_dim)
        self.weight_EIO = nn.Parameter(torch.empty(stack, in_dim, out).uniform_(-bound, bound))
        self.bias_E1O = nn.Parameter(torch.empty(stack, 1, out).uniform_(-bound, bound))

    def forward(self, x_ENI: Tensor) -> Tensor:
        """Apply each layer to its own slice."""
        return torch.matmul(x_ENI, self.weight_EIO) + self.bias_E1O


class Experts(nn.Module):
    """E MLPs over both sides, their first layers one factored product.

    Args:
        features: Gives the widths of both sides.
        count: Experts E.
        hidden: Widths of each expert.
        dropout: Share of units dropped in training.
    """

    def __init__(self, features: "Features", count: int, hidden: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.count, self.first_dim, self.out_dim = count, hidden[0], hidden[-1]
        self.first = features.first_layer(count * hidden[0])
        self.deeper = nn.ModuleList(StackedLinear(count, a, b) for a, b in pairwise(hidden))
        self.dropout = Dropout(dropout)

    def forward(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give every expert's output, ``[N, E, H]``."""
        if torch.compiler.is_exporting() and len(self.deeper) and self.first.reads_both:
            return self._one_by_one(u_RU, c_NC, request_index)
        h_NX = self.dropout(torch.relu_(self.first(u_RU, c_NC, request_index)))
        h_ENH: Tensor = h_NX.reshape(-1, self.count, self.first_dim).transpose(0, 1)
        for layer in self.deeper:
            h_ENH = self.dropout(torch.relu_(layer(h_ENH)))
        return h_ENH.transpose(0, 1)

    def _one_by_one(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give the same, expert by expert, as a graph runs it faster.

        What one expert makes of a list stays in the processor's cache until its next layer reads it; ONNX Runtime
        packs two-dimensional weights ahead, and takes sum, bias and ReLU into the product; nothing is transposed.
        """
        outputs_NH = []
        for expert, first_NH in enumerate(self.first.parts(u_RU, c_NC, request_index, self.count)):
            h_NH = torch.relu(first_NH)
            for layer in cast(Iterable[StackedLinear], self.deeper):
                h_NH = torch.relu(torch.addmm(layer.bias_E1O[expert, 0], h_NH, layer.weight_EIO[expert]))
            outputs_NH.append(h_NH)
        return torch.cat(outputs_NH, dim=1).reshape(-1, self.count, self.out_dim)


def start_uniform(gates: nn.Module) -> None:
    """Let gates start as the plain mean of what they choose from: their logits begin at 0."""
    for parameter in gates.parameters():
        nn.init.zeros_(parameter)
