"""What a prepared dataset says of its columns, before anything is fitted."""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from contract.features import Pooling, Side
from contract.frozen import Frozen

__all__ = ["FieldDeclaration", "LabelDeclaration", "check_fields", "table_of"]

_TYPES: dict[str, pa.DataType] = {"string": pa.string(), "int": pa.int64(), "float": pa.float64()}
_DTYPES = {
    "categorical": ("string", "int"),
    "hashed": ("string", "int"),
    "sequence": ("string", "int"),
    "numeric": ("int", "float"),
    "vector": ("float",),
}
_NEEDS = {"hashed": "buckets", "sequence": "max_length", "vector": "dim"}


class FieldDeclaration(Frozen):
    """One feature, before it is fitted; docs/reference/features.md has the table of kinds.

    Args:
        name: A Python identifier; number fields become formula variables.
        scaling: Of number fields, see :mod:`contract.scaling`; of vector fields ``standard`` divides by the root
            mean square of the training split, ``none`` leaves them alone.
        buckets: Of a hashed field.
        max_length: Of a sequence: how many of its values are read.
        pooling: Of a sequence: what the vectors of its values become; see :class:`contract.features.Sequence`.
        target: Of a sequence with attention: the candidate field, of the same table, that it is held against.
        dim: Of a vector field: how many numbers it has.
        project: Of a vector field: width of a linear layer that the network reads it through.
        shares: Field whose embedding table this one reads.
        pretrained: File of vectors that the field's embedding table starts from, within the dataset's folder
            unless the path is absolute; see :mod:`training.pretrained`.
        frozen: The table stays as the file has it.
        static: A candidate field that belongs in the item table.
    """

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    side: Side
    kind: Literal["categorical", "hashed", "numeric", "sequence", "vector"]
    dtype: Literal["string", "int", "float"]
    scaling: Literal["standard", "log", "quantile", "piecewise", "none"] = "standard"
    buckets: int | None = Field(default=None, ge=1, le=2**31)
    max_length: int | None = Field(default=None, ge=1, le=4096)
    pooling: Pooling = "mean"
    target: str | None = None
    dim: int | None = Field(default=None, ge=1, le=4096)
    project: int | None = Field(default=None, ge=1)
    shares: str | None = None
    pretrained: str | None = None
    frozen: bool = False
    min_count: int = 1
    static: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for is_wrong, problem in self._problems():
            if is_wrong:
                msg = f"field {self.name!r} {problem}"
                raise ValueError(msg)
        return self

    def _problems(self) -> Iterator[tuple[bool, str]]:
        dtypes, needed = _DTYPES[self.kind], _NEEDS.get(self.kind)
        yield self.dtype not in dtypes, f"is {self.kind}, so its dtype is {' or '.join(dtypes)}"
        yield needed is not None and getattr(self, needed) is None, f"is {self.kind}, so it needs {needed}"
        scalings = ("standard", "none")
        yield self.kind == "vector" and self.scaling not in scalings, "is a vector, whose scaling is standard or none"
        has_table = self.kind in ("categorical", "sequence") and self.shares is None
        yield (
            self.pretrained is not None and not has_table,
            "starts a table from a file, so it must be a categorical field or a sequence with a table of its own",
        )
        yield self.frozen and self.pretrained is None, "is frozen, so it needs a file to start from"
        yield self.static and self.side != "candidate", "is static, so it must be a candidate field"

    @property
    def value_type(self) -> pa.DataType:
        """Arrow type of one value; a sequence or a vector is a list of values."""
        if self.kind == "vector":
            return pa.list_(pa.float32())
        base = _TYPES[self.dtype]
        return pa.list_(base) if self.kind == "sequence" else base

    @property
    def column_type(self) -> pa.DataType:
        """Arrow type of the column in a split; candidates stand in lists."""
        return pa.list_(self.value_type) if self.side == "candidate" else self.value_type


class LabelDeclaration(Frozen):
    """One thing to predict.

    Args:
        given: Label that has to be 1 for this one to be defined.
    """

    name: str
    kind: Literal["binary", "count", "regression", "duration"]
    given: str | None = None


def table_of(field: FieldDeclaration) -> str:
    """Name the embedding table of an id field."""
    return field.shares or field.name


def check_fields(fields: Sequence[FieldDeclaration]) -> None:
    """Refuse fields that contradict each other.

    Raises:
        ValueError: Naming the field.
    """
    by_name = {field.name: field for field in fields}
    filled: dict[str, FieldDeclaration] = {}  # by table, the first field that says how its rows are found
    for field in fields:
        problem = _sharing_problem(field, by_name) or _target_problem(field, by_name)
        if not problem and field.kind in ("categorical", "hashed"):
            problem = _filling_problem(field, filled.setdefault(table_of(field), field))
        if problem:
            msg = f"field {field.name!r} {problem}"
            raise ValueError(msg)


def _sharing_problem(field: FieldDeclaration, by_name: dict[str, FieldDeclaration]) -> str:
    if field.shares is None:
        return ""
    owner = by_name.get(field.shares)
    if owner is None or owner.shares is not None or owner.kind in ("numeric", "vector"):
        return f"shares the table of {field.shares!r}, which is no id field with a table of its own"
    if owner.dtype != field.dtype:
        return f"shares the table of {owner.name!r}, whose values are of another type"
    return ""


def _filling_problem(field: FieldDeclaration, first: FieldDeclaration) -> str:
    if field.kind != first.kind:
        return f"is {field.kind} and shares a table with {first.name!r}, which is {first.kind}"
    if field.buckets != first.buckets:
        return f"shares a table with {first.name!r}, which has {first.buckets} buckets"
    return ""


def _target_problem(field: FieldDeclaration, by_name: dict[str, FieldDeclaration]) -> str:
    if field.target is None:
        return "pools by attention, so it needs a target" if field.pooling == "attention" else ""
    if field.pooling != "attention":
        return "has a target, which only attention reads"
    target = by_name.get(field.target)
    if target is None or target.side != "candidate" or target.kind not in ("categorical", "hashed"):
        return f"has the target {field.target!r}, which is no categorical or hashed candidate field"
    if table_of(target) != table_of(field):
        return f"has the target {field.target!r}, which has another embedding table"
    return ""
