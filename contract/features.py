"""The feature schema: which fields a model reads, on which side, and how each is encoded.

A schema is fitted once, on the training split, and travels in the manifest; the data path and the service
encode with the same one (:mod:`contract.encoding`).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.frozen import Frozen

__all__ = [
    "MISSING_ID",
    "SIDES",
    "UNKNOWN_ID",
    "Categorical",
    "FeatureSchema",
    "Hashed",
    "IdField",
    "LogStandard",
    "Numeric",
    "Quantile",
    "Scaling",
    "Sequence",
    "Side",
    "Standard",
]

Side = Literal["request", "candidate"]
SIDES: tuple[Side, ...] = ("request", "candidate")

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
    """A list of values from a table's vocabulary, newest first; the newest *max_length* are read."""

    kind: Literal["sequence"] = "sequence"
    dtype: Literal["string", "int"]
    table: str
    max_length: int = Field(ge=1, le=4096)


class Standard(Frozen):
    """``(x - mean) / std``, clipped to ±10."""

    kind: Literal["standard"] = "standard"
    mean: float
    std: float = Field(gt=0)


class LogStandard(Frozen):
    """``(log1p(max(x, 0)) - mean) / std``, clipped to ±10."""

    kind: Literal["log"] = "log"
    mean: float
    std: float = Field(gt=0)


class Quantile(Frozen):
    """The share of training values at or below x, interpolated between *points*, stretched to [-1, 1]."""

    kind: Literal["quantile"] = "quantile"
    points: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _points_rise(self) -> Self:
        if any(b <= a for a, b in zip(self.points, self.points[1:], strict=False)):
            msg = "quantile points must rise strictly"
            raise ValueError(msg)
        return self


Scaling = Annotated[Standard | LogStandard | Quantile, Field(discriminator="kind")]


class Numeric(_Field):
    """A number.

    Args:
        default: Raw value that stands for a missing one, in the field's own unit.
    """

    kind: Literal["numeric"] = "numeric"
    scaling: Scaling
    default: float = 0.0


IdField = Categorical | Hashed | Sequence
AnyField = Annotated[Categorical | Hashed | Sequence | Numeric, Field(discriminator="kind")]


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
        for field in self.fields:
            if isinstance(field, Categorical) and field.table not in self.vocabularies:
                msg = f"field {field.name!r} reads table {field.table!r}, which has no vocabulary"
                raise ValueError(msg)
        return self

    def on(self, side: Side) -> "tuple[AnyField, ...]":
        """Give the fields of one side, in packing order."""
        return tuple(field for field in self.fields if field.side == side)

    def ids_on(self, side: Side) -> tuple[IdField, ...]:
        """Give the fields of one side that are packed into its id array."""
        return tuple(field for field in self.on(side) if not isinstance(field, Numeric))

    def numbers_on(self, side: Side) -> tuple[Numeric, ...]:
        """Give the fields of one side that are packed into its dense array."""
        return tuple(field for field in self.on(side) if isinstance(field, Numeric))

    def table_size(self, table: str) -> int:
        """Count the rows of an embedding table, with those for missing and unknown."""
        if table in self.vocabularies:
            return FIRST_ID + len(self.vocabularies[table])
        return FIRST_ID + max(
            field.buckets for field in self.fields if isinstance(field, Hashed) and field.table == table
        )

    def tables(self) -> tuple[str, ...]:
        """Name the embedding tables, each once, in order of first use."""
        return tuple(dict.fromkeys(f.table for f in self.fields if not isinstance(f, Numeric)))


def id_width(field: IdField) -> int:
    """Count the columns that a field takes in its side's id array."""
    return field.max_length if isinstance(field, Sequence) else 1
