"""The feature schema: which fields a model reads, on which side, and how each is encoded.

A schema is fitted once, on the training split, and travels in the manifest; the data path and the service
encode with the same one (:mod:`contract.encoding`).
"""

from collections.abc import Callable, Collection, Iterable
from itertools import accumulate
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from contract.frozen import Frozen
from contract.scaling import LogStandard, Piecewise, Quantile, Scaling, Standard, scaled_width

__all__ = [
    "MISSING_ID",
    "SIDES",
    "UNKNOWN_ID",
    "AnyField",
    "Categorical",
    "DenseField",
    "FeatureSchema",
    "Hashed",
    "IdField",
    "LogStandard",
    "Numeric",
    "Piecewise",
    "Pooling",
    "Quantile",
    "Scaling",
    "Sequence",
    "Side",
    "Standard",
    "Vector",
    "dense_width",
    "id_width",
]

Side = Literal["request", "candidate"]
SIDES: tuple[Side, ...] = ("request", "candidate")
Pooling = Literal["mean", "sum", "attention"]

MISSING_ID = 0
"""Table row of a value that was not given, and the padding of sequences."""
UNKNOWN_ID = 1
"""Table row of a value that the vocabulary does not hold."""
FIRST_ID = 2


class _Field(Frozen):
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    side: Side


class Categorical(_Field):
    """One of a known set of values; others become "unknown".

    Args:
        table: Name of the embedding table; fields with one table share their vocabulary.
    """

    kind: Literal["categorical"] = "categorical"
    dtype: Literal["string", "int"]
    table: str


class Hashed(_Field):
    """A value of an open set, put into one of *buckets* by a stable hash."""

    kind: Literal["hashed"] = "hashed"
    dtype: Literal["string", "int"]
    table: str
    buckets: int = Field(ge=1, le=2**31)


class Sequence(_Field):
    """A list of values from a table's vocabulary, newest first; the newest *max_length* are read.

    Args:
        pooling: What the vectors of its values become: their mean, their sum, or a sum in which each weighs as
            much as it matters to the candidate (DIN, Zhou et al., KDD 2018).
        target: With attention, the candidate field of the same table that the values are held against.
    """

    kind: Literal["sequence"] = "sequence"
    dtype: Literal["string", "int"]
    table: str
    max_length: int = Field(ge=1, le=4096)
    pooling: Pooling = "mean"
    target: str | None = None

    @model_validator(mode="after")
    def _target_goes_with_attention(self) -> Self:
        if (self.pooling == "attention") != (self.target is not None):
            msg = f"sequence {self.name!r}: attention needs a target, and no other pooling takes one"
            raise ValueError(msg)
        return self


class Numeric(_Field):
    """A number.

    Args:
        default: Raw value that stands for a missing one, in the field's own unit.
    """

    kind: Literal["numeric"] = "numeric"
    scaling: Scaling
    default: float = 0.0


class Vector(_Field):
    """A vector of *dim* numbers that was made elsewhere, such as the embedding of a text; a missing one is zeros.

    Args:
        scale: Every number is divided by it.
        project: Width of a linear layer that the network reads it through; None reads it as it is.
    """

    kind: Literal["vector"] = "vector"
    dim: int = Field(ge=1, le=4096)
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    project: int | None = Field(default=None, ge=1)


IdField = Categorical | Hashed | Sequence
DenseField = Numeric | Vector
_Packed = TypeVar("_Packed", bound=IdField | DenseField)
AnyField = Annotated[Categorical | Hashed | Sequence | Numeric | Vector, Field(discriminator="kind")]


class FeatureSchema(Frozen):
    """All fields of a model, and the vocabularies of its embedding tables.

    Args:
        fields: In the order in which they are packed into the graph's inputs.
        vocabularies: Table name to its values; the value at position i has id ``i + 2``.
    """

    fields: tuple[AnyField, ...] = Field(min_length=1)
    vocabularies: dict[str, tuple[str, ...] | tuple[int, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            msg = f"field names repeat: {sorted({n for n in names if names.count(n) > 1})}"
            raise ValueError(msg)
        buckets = self._buckets()
        for field in self.fields:
            if isinstance(field, Categorical) and field.table not in self.vocabularies:
                msg = f"field {field.name!r} reads table {field.table!r}, which has no vocabulary"
                raise ValueError(msg)
            if isinstance(field, Sequence):
                self._check_sequence(field, known=buckets.keys() | self.vocabularies.keys())
        return self

    def _buckets(self) -> dict[str, int]:
        """Give the buckets of each hashed table; a sequence is hashed as the field that it shares a table with."""
        buckets: dict[str, int] = {}
        for field in self.fields:
            if isinstance(field, Hashed) and buckets.setdefault(field.table, field.buckets) != field.buckets:
                msg = f"hashed fields of table {field.table!r} have different numbers of buckets"
                raise ValueError(msg)
        return buckets

    def _check_sequence(self, field: Sequence, known: Collection[str]) -> None:
        if field.table not in known:
            msg = f"field {field.name!r} reads table {field.table!r}, which has neither vocabulary nor buckets"
            raise ValueError(msg)
        if field.target is None:
            return
        target = next((each for each in self.on("candidate") if each.name == field.target), None)
        if not isinstance(target, Categorical | Hashed) or target.table != field.table:
            msg = f"the target of {field.name!r} must be a categorical or hashed candidate field of its own table"
            raise ValueError(msg)

    def on(self, side: Side) -> "tuple[AnyField, ...]":
        """Give the fields of one side, in the order of the schema."""
        return tuple(field for field in self.fields if field.side == side)

    def ids_on(self, side: Side) -> tuple[IdField, ...]:
        """Give the fields of one side that are packed into its id array, in packing order."""
        return tuple(field for field in self.on(side) if isinstance(field, Categorical | Hashed | Sequence))

    def numbers_on(self, side: Side) -> tuple[Numeric, ...]:
        """Give the number fields of one side, which stand first in its dense array."""
        return tuple(field for field in self.on(side) if isinstance(field, Numeric))

    def vectors_on(self, side: Side) -> tuple[Vector, ...]:
        """Give the vector fields of one side, which stand behind the numbers in its dense array."""
        return tuple(field for field in self.on(side) if isinstance(field, Vector))

    def dense_on(self, side: Side) -> tuple[DenseField, ...]:
        """Give the fields of one side that are packed into its dense array, in packing order."""
        return (*self.numbers_on(side), *self.vectors_on(side))

    def id_spans(self, side: Side) -> dict[str, slice]:
        """Give the columns of each field in a side's id array, by name, in their order."""
        return _spans(self.ids_on(side), id_width)

    def dense_spans(self, side: Side) -> dict[str, slice]:
        """Give the columns of each field in a side's dense array, by name, in their order."""
        return _spans(self.dense_on(side), dense_width)

    def id_columns(self, side: Side) -> int:
        """Count the columns of a side's id array."""
        return sum(id_width(field) for field in self.ids_on(side))

    def dense_columns(self, side: Side) -> int:
        """Count the columns of a side's dense array."""
        return sum(dense_width(field) for field in self.dense_on(side))

    def table_size(self, table: str) -> int:
        """Count the rows of an embedding table, with those for missing and unknown."""
        if table in self.vocabularies:
            return FIRST_ID + len(self.vocabularies[table])
        return FIRST_ID + self._buckets()[table]

    def tables(self) -> tuple[str, ...]:
        """Name the embedding tables, each once, in order of first use."""
        return tuple(dict.fromkeys(f.table for f in self.fields if isinstance(f, Categorical | Hashed | Sequence)))


def id_width(field: IdField) -> int:
    """Count the columns that a field takes in its side's id array."""
    return field.max_length if isinstance(field, Sequence) else 1


def dense_width(field: DenseField) -> int:
    """Count the columns that a field takes in its side's dense array."""
    return field.dim if isinstance(field, Vector) else scaled_width(field.scaling)


def _spans(fields: Iterable[_Packed], width: Callable[[_Packed], int]) -> dict[str, slice]:
    widths = {field.name: width(field) for field in fields}
    ends = accumulate(widths.values())
    return {name: slice(end - size, end) for (name, size), end in zip(widths.items(), ends, strict=True)}
