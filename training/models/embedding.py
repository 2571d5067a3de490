"""Embedding of both sides: ids to vectors, sequences pooled, numbers and vectors beside them.

Shape letters as in :mod:`training.models.layers`; X stands for the rows of either side, L for the values of a
sequence, M for the columns of a dense array.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from contract.features import Categorical, FeatureSchema, Hashed, Side, dense_width, id_width
from contract.features import Sequence as SequenceField
from training.inputs import TensorInputs
from training.models.attention import LocalActivation

__all__ = ["ATTENTION_HIDDEN", "FeatureEmbedding"]

ATTENTION_HIDDEN = 36


@dataclass(frozen=True)
class _Columns:
    """One field's ids, looked up: their vectors ``[X, L, D]``, and 1 where an id was given, ``[X, L]``."""

    vectors_XLD: Tensor
    given_XL: Tensor


class FeatureEmbedding(nn.Module):
    """Embeds both sides, each row once.

    All tables stand in one weight, one behind the other, so that a side costs one Gather. Ids are clipped to
    their table inside the graph: an out-of-range Gather is a crash in ONNX Runtime. A sequence with attention
    reads both sides, so what it becomes stands in the candidate vector.

    Args:
        schema: Fields and tables.
        dim: Embedding width D of every id field.
        attention_hidden: Hidden units of each attention.
    """

    def __init__(self, schema: FeatureSchema, dim: int, attention_hidden: int = ATTENTION_HIDDEN) -> None:
        super().__init__()
        sizes = {table: schema.table_size(table) for table in schema.tables()}
        self.starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
        self.sizes, self.dim = sizes, dim
        self.frozen: set[str] = set()
        self.weight = nn.Embedding(max(1, sum(sizes.values())), dim, sparse=True)
        nn.init.normal_(self.weight.weight, std=1.0 / math.sqrt(dim) / 4)
        self.request = _SideEmbedding(schema, "request", self.starts, sizes, dim)
        self.candidate = _SideEmbedding(schema, "candidate", self.starts, sizes, dim)
        self.attended = [field for field in schema.fields if isinstance(field, SequenceField) and field.target]
        self.attention = nn.ModuleList(LocalActivation(dim, attention_hidden) for _ in self.attended)
        self.request_dim = self.request.width
        self.candidate_dim = self.candidate.width + dim * len(self.attended)

    def spans(self, side: Side) -> dict[str, slice]:
        """Give the columns of each field in the vector of a side, by name, in their order.

        A sequence with attention stands on the candidate side, whichever side it is packed on.
        """
        if side == "request":
            return _spans(self.request.field_widths())
        attended = {field.name: self.dim for field in self.attended}
        return _spans(self.candidate.field_widths() | attended)

    def forward(self, inputs: TensorInputs) -> tuple[Tensor, Tensor]:
        """Give request vectors ``[R, U]`` and candidate vectors ``[N, C]``."""
        request = self.request.look_up(self.weight, inputs.request_ids, self.frozen)
        candidate = self.candidate.look_up(self.weight, inputs.candidate_ids, self.frozen)
        u_RU = self.request(request, inputs.request_dense)
        c_NC = self.candidate(candidate, inputs.candidate_dense)
        interests = [
            self._interest(field, unit, request, candidate, inputs.request_index)
            for field, unit in zip(self.attended, self.attention, strict=True)
        ]
        return u_RU, torch.cat([c_NC, *interests], dim=1) if interests else c_NC

    def _interest(
        self,
        field: SequenceField,
        unit: nn.Module,
        request: Mapping[str, _Columns],
        candidate: Mapping[str, _Columns],
        request_index: Tensor,
    ) -> Tensor:
        q_ND = candidate[str(field.target)].vectors_XLD[:, 0]
        keys, index = (request, request_index) if field.side == "request" else (candidate, None)
        k = keys[field.name]
        return torch.as_tensor(unit(q_ND, k.vectors_XLD, k.given_XL, index))

    @torch.no_grad()
    def start_table(self, table: str, rows: Tensor, vectors_KD: Tensor, *, frozen: bool) -> None:
        """Put vectors that were made elsewhere into a table.

        Args:
            rows: Rows of the table, int64 ``[K]``.
            vectors_KD: ``[K, D]``.
            frozen: The table learns nothing from now on; its other rows become 0, as they would stay random.
        """
        start, size = self.starts[table], self.sizes[table]
        if frozen:
            self.frozen.add(table)
            self.weight.weight[start : start + size] = 0.0
        self.weight.weight[start + rows] = vectors_KD


class _SideEmbedding(nn.Module):
    """Where the fields of one side stand in its arrays, and what becomes of them."""

    starts: Tensor
    last: Tensor

    def __init__(
        self, schema: FeatureSchema, side: Side, starts: dict[str, int], sizes: dict[str, int], dim: int
    ) -> None:
        super().__init__()
        self.fields = schema.ids_on(side)
        tables = [field.table for field in self.fields for _ in range(id_width(field))]
        self.widths = [id_width(field) for field in self.fields]
        first_rows = torch.tensor([starts[table] for table in tables], dtype=torch.int64)
        last_rows = torch.tensor([sizes[table] - 1 for table in tables], dtype=torch.int64)
        self.register_buffer("starts", first_rows, persistent=False)
        self.register_buffer("last", last_rows, persistent=False)
        self.dense, self.dim = _DenseColumns(schema, side), dim
        self.width = sum(self.field_widths().values())

    def field_widths(self) -> dict[str, int]:
        """Give the columns of each field in the side's vector, in their order."""
        pooled = [field for field in self.fields if not (isinstance(field, SequenceField) and field.target)]
        return {field.name: self.dim for field in pooled} | self.dense.field_widths()

    def look_up(self, weight: nn.Embedding, ids_XF: Tensor, frozen: set[str]) -> dict[str, _Columns]:
        """Give the columns of each id field; those of frozen tables send no gradient back."""
        if not self.fields:
            return {}
        known_XF = torch.minimum(torch.clamp(ids_XF, min=0), self.last)
        # One split, not a slice a field: the gradient of each slice would be as large as that of all fields.
        vectors = torch.split(weight(known_XF + self.starts), self.widths, dim=1)
        given = torch.split((known_XF != 0).to(weight.weight.dtype), self.widths, dim=1)
        return {
            field.name: _Columns(vectors_XLD.detach() if field.table in frozen else vectors_XLD, given_XL)
            for field, vectors_XLD, given_XL in zip(self.fields, vectors, given, strict=True)
        }

    def forward(self, columns: Mapping[str, _Columns], dense_XM: Tensor) -> Tensor:
        """Give ``[X, width]``: id fields in their order, then numbers, then vectors."""
        parts: list[Tensor] = []
        for field in self.fields:
            if isinstance(field, Categorical | Hashed):
                parts.append(columns[field.name].vectors_XLD.flatten(1))
            elif field.pooling != "attention":
                parts.append(_pooled(columns[field.name], mean=field.pooling == "mean"))
        parts += self.dense(dense_XM)
        return torch.cat(parts, dim=1) if parts else dense_XM


class _DenseColumns(nn.Module):
    """The dense array of one side: numbers as they are, vectors through a linear layer where they ask for one."""

    def __init__(self, schema: FeatureSchema, side: Side) -> None:
        super().__init__()
        self.number_widths = {number.name: dense_width(number) for number in schema.numbers_on(side)}
        self.numbers, self.vectors = sum(self.number_widths.values()), schema.vectors_on(side)
        # Without a constant, a missing vector stays zeros.
        self.readers = nn.ModuleList(
            nn.Linear(vector.dim, vector.project, bias=False) if vector.project else nn.Identity()
            for vector in self.vectors
        )

    def field_widths(self) -> dict[str, int]:
        """Give the columns of each field, in their order."""
        return self.number_widths | {vector.name: vector.project or vector.dim for vector in self.vectors}

    def forward(self, dense_XM: Tensor) -> list[Tensor]:
        """Give the parts, ``[X, …]`` each."""
        if not self.vectors:
            return [dense_XM] if self.numbers else []
        parts = [dense_XM[:, : self.numbers]] if self.numbers else []
        start = self.numbers
        for vector, read in zip(self.vectors, self.readers, strict=True):
            parts.append(read(dense_XM[:, start : start + vector.dim]))
            start += vector.dim
        return parts


def _pooled(columns: _Columns, *, mean: bool) -> Tensor:
    total_XD = (columns.vectors_XLD * columns.given_XL.unsqueeze(-1)).sum(dim=1)
    return total_XD / torch.clamp(columns.given_XL.sum(dim=1, keepdim=True), min=1.0) if mean else total_XD


def _spans(widths: Mapping[str, int]) -> dict[str, slice]:
    ends = accumulate(widths.values())
    return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}
