"""Layers that every architecture shares: embedding of both sides, the factored linear layer, MLPs.

Shape letters: R requests, N candidates of all requests, F id columns, D embedding width, U request width,
C candidate width, H hidden width, E experts, T tasks.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from contract.features import FeatureSchema, Side, id_width
from contract.features import Sequence as SequenceField
from training.inputs import TensorInputs
from training.models.dropout import Dropout

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


class FeatureEmbedding(nn.Module):
    """Embeds both sides, each row once.

    All tables stand in one weight, one behind the other, so that a side costs one Gather. Sequences are the
    mean of their given values. Ids are clipped to their table inside the graph: an out-of-range Gather is a
    crash in ONNX Runtime.

    Args:
        schema: Fields and tables.
        dim: Embedding width D of every field.
    """

    def __init__(self, schema: FeatureSchema, dim: int) -> None:
        super().__init__()
        sizes = {table: schema.table_size(table) for table in schema.tables()}
        starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
        self.weight = nn.Embedding(max(1, sum(sizes.values())), dim)
        nn.init.normal_(self.weight.weight, std=1.0 / math.sqrt(dim) / 4)
        self.request = SideLayout(schema, "request", starts, sizes, dim)
        self.candidate = SideLayout(schema, "candidate", starts, sizes, dim)

    def forward(self, inputs: TensorInputs) -> tuple[Tensor, Tensor]:
        """Give request vectors ``[R, U]`` and candidate vectors ``[N, C]``."""
        u_RU = self.request(self.weight, inputs.request_ids, inputs.request_dense)
        c_NC = self.candidate(self.weight, inputs.candidate_ids, inputs.candidate_dense)
        return u_RU, c_NC


class SideLayout(nn.Module):
    """Where the fields of one side stand in its id array, and how wide its vector is."""

    starts: Tensor
    last: Tensor

    def __init__(
        self, schema: FeatureSchema, side: Side, starts: dict[str, int], sizes: dict[str, int], dim: int
    ) -> None:
        super().__init__()
        fields = schema.ids_on(side)
        self.spans: list[tuple[int, int, bool]] = []
        column_starts: list[int] = []
        column_last: list[int] = []
        for field in fields:
            begin, width = len(column_starts), id_width(field)
            self.spans.append((begin, begin + width, isinstance(field, SequenceField)))
            column_starts += [starts[field.table]] * width
            column_last += [sizes[field.table] - 1] * width
        self.register_buffer("starts", torch.tensor(column_starts, dtype=torch.int64), persistent=False)
        self.register_buffer("last", torch.tensor(column_last, dtype=torch.int64), persistent=False)
        self.has_dense = bool(schema.numbers_on(side))
        self.width = dim * len(fields) + len(schema.numbers_on(side))

    def forward(self, weight: nn.Embedding, ids_XF: Tensor, dense_XM: Tensor) -> Tensor:
        """Give ``[X, width]``, X being the side's rows."""
        if not self.spans:
            return dense_XM
        known_XF = torch.minimum(torch.clamp(ids_XF, min=0), self.last)
        vectors_XFD = weight(known_XF + self.starts)
        parts: list[Tensor] = []
        for begin, end, is_sequence in self.spans:
            piece = vectors_XFD[:, begin:end]
            parts.append(_mean_of_given(piece, known_XF[:, begin:end]) if is_sequence else piece[:, 0])
        return torch.cat([*parts, dense_XM] if self.has_dense else parts, dim=1)


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
            return torch.as_tensor(self.candidate(c_NC))
        shared_NH: Tensor = self.request(u_RU).index_select(0, request_index)
        if self.candidate is None:
            return shared_NH
        # The product starts from the request's share: no pass over [N, H] more for the sum.
        return torch.addmm(shared_NH, c_NC, self.candidate.weight.t())


class Features(nn.Module):
    """Vectors of both sides and the widths that the next layer needs."""

    def __init__(self, schema: FeatureSchema, dim: int) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(schema, dim)
        self.request_dim = self.embedding.request.width
        self.candidate_dim = self.embedding.candidate.width

    def first_layer(self, out: int) -> FactoredLinear:
        """Make a layer that reads both sides."""
        return FactoredLinear(self.request_dim, self.candidate_dim, out)

    def forward(self, inputs: TensorInputs) -> tuple[Tensor, Tensor]:
        """Give request vectors ``[R, U]`` and candidate vectors ``[N, C]``."""
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
        h_NX = self.dropout(torch.relu_(self.first(u_RU, c_NC, request_index)))
        h_ENH: Tensor = h_NX.reshape(-1, self.count, self.first_dim).transpose(0, 1)
        for layer in self.deeper:
            h_ENH = self.dropout(torch.relu_(layer(h_ENH)))
        return h_ENH.transpose(0, 1)


def start_uniform(gates: nn.Module) -> None:
    """Let gates start as the plain mean of what they choose from: their logits begin at 0."""
    for parameter in gates.parameters():
        nn.init.zeros_(parameter)


def _mean_of_given(vectors_XLD: Tensor, ids_XL: Tensor) -> Tensor:
    given = (ids_XL != 0).to(vectors_XLD.dtype).unsqueeze(-1)
    total_XD = (vectors_XLD * given).sum(dim=1)
    return total_XD / torch.clamp(given.sum(dim=1), min=1.0)
