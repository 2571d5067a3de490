"""Fits the feature schema on the training split, one row group at a time."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contract.features import (
    AnyField,
    Categorical,
    FeatureSchema,
    Hashed,
    LogStandard,
    Numeric,
    Piecewise,
    Quantile,
    Scaling,
    Sequence,
    Standard,
    Vector,
)
from training.data.declarations import FieldDeclaration, table_of
from training.data.format import Dataset

__all__ = ["fit_schema", "flat_column"]

MAX_VOCABULARY = 1_000_000
_SAMPLE = 200_000
_QUANTILES, _BIN_EDGES = 64, 32
_Sample = np.ndarray[tuple[int], np.dtype[np.float64]]


def fit_schema(dataset: Dataset, *, split: str = "train") -> FeatureSchema:
    """Fit vocabularies and scalings on one split; nothing of the others is read."""
    fits = {field.name: _fitter(field) for field in dataset.info.fields}
    for table in dataset.row_groups(split):
        for field in dataset.info.fields:
            fits[field.name].see(flat_column(table, field))
    vocabularies = _vocabularies(dataset.info.fields, fits)
    fields = tuple(_field(field, fits[field.name]) for field in dataset.info.fields)
    return FeatureSchema(fields=fields, vocabularies=vocabularies)


def flat_column(table: pa.Table, field: FieldDeclaration) -> pa.Array:
    """Give a field's values one a row of its side: candidate lists laid end to end, sequences kept whole."""
    column = table[field.name].combine_chunks()
    return column.flatten() if field.side == "candidate" else column


class _Values:
    """Counts the values of an id field."""

    def __init__(self) -> None:
        self.counts: Counter[str | int] = Counter()

    def see(self, column: pa.Array) -> None:
        flat = column.flatten() if pa.types.is_list(column.type) else column
        for entry in pc.value_counts(flat.drop_null()).to_pylist():
            self.counts[entry["values"]] += entry["counts"]


class _Numbers:
    """Keeps an even sample of a number field, thinned as rows grow, so that memory stays flat."""

    def __init__(self) -> None:
        self.sample: _Sample = np.zeros(0)
        self._stride = 1
        self._seen = 0

    def see(self, column: pa.Array) -> None:
        values = column.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
        values = values[np.isfinite(values)]
        first = -self._seen % self._stride
        self._seen += len(values)
        self.sample = np.concatenate([self.sample, values[first :: self._stride]])
        while len(self.sample) > 2 * _SAMPLE:
            self.sample = self.sample[::2]
            self._stride *= 2


class _Vectors:
    """Sums the squares of a vector field's numbers."""

    def __init__(self) -> None:
        self._squares, self._numbers = 0.0, 0

    def see(self, column: pa.Array) -> None:
        numbers = column.flatten().drop_null().to_numpy().astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        self._squares += float(numbers @ numbers)
        self._numbers += len(numbers)

    def root_mean_square(self) -> float:
        return float(np.sqrt(self._squares / max(1, self._numbers))) or 1.0


_Fitter = _Values | _Numbers | _Vectors


def _fitter(field: FieldDeclaration) -> _Fitter:
    if field.kind == "vector":
        return _Vectors()
    return _Numbers() if field.kind == "numeric" else _Values()


def _vocabularies(
    fields: Iterable[FieldDeclaration], fits: dict[str, _Fitter]
) -> dict[str, tuple[str, ...] | tuple[int, ...]]:
    """Order each table's values by how often they came, then by value, so that a refit gives the same ids."""
    counts: dict[str, Counter[str | int]] = {}
    floors: dict[str, int] = {}
    hashed = {table_of(field) for field in fields if field.kind == "hashed"}
    for field in fields:
        fit, table = fits[field.name], table_of(field)
        if isinstance(fit, _Values) and table not in hashed:
            counts.setdefault(table, Counter()).update(fit.counts)
            floors[table] = max(floors.get(table, 1), field.min_count)
    ordered = {
        table: tuple(
            value
            for value, count in sorted(counter.items(), key=lambda entry: (-entry[1], str(entry[0])))
            if count >= floors[table]
        )[:MAX_VOCABULARY]
        for table, counter in counts.items()
    }
    return cast("dict[str, tuple[str, ...] | tuple[int, ...]]", ordered)


def _field(field: FieldDeclaration, fit: _Fitter) -> AnyField:
    name, side, table = field.name, field.side, table_of(field)
    if isinstance(fit, _Numbers):
        default = float(np.median(fit.sample)) if len(fit.sample) else 0.0
        return Numeric(name=name, side=side, scaling=_scaling(field, fit.sample), default=default)
    if isinstance(fit, _Vectors):
        scale = fit.root_mean_square() if field.scaling == "standard" else 1.0
        return Vector(name=name, side=side, dim=field.dim or 1, scale=scale, project=field.project)
    dtype = "int" if field.dtype == "int" else "string"
    if field.kind == "sequence":
        return Sequence(
            name=name,
            side=side,
            dtype=dtype,
            table=table,
            max_length=field.max_length or 1,
            pooling=field.pooling,
            target=field.target,
        )
    if field.kind == "hashed":
        return Hashed(name=name, side=side, dtype=dtype, table=table, buckets=field.buckets or 1)
    return Categorical(name=name, side=side, dtype=dtype, table=table)


def _scaling(field: FieldDeclaration, sample: _Sample) -> Scaling:
    if field.scaling == "none" or not len(sample):
        return Standard(mean=0.0, std=1.0)
    if field.scaling == "quantile" and len(points := _points(sample, _QUANTILES, "linear")) >= 2:
        return Quantile(points=points)
    # Edges are values that occur: a number of few values has one at each, and no column that says nothing new.
    if field.scaling == "piecewise" and len(points := _points(sample, _BIN_EDGES, "inverted_cdf")) >= 2:
        return Piecewise(points=points)
    if field.scaling == "log":
        logs = np.log1p(np.maximum(sample, 0))
        return LogStandard(mean=float(logs.mean()), std=float(logs.std()) or 1.0)
    return Standard(mean=float(sample.mean()), std=float(sample.std()) or 1.0)


def _points(sample: _Sample, count: int, method: Literal["linear", "inverted_cdf"]) -> tuple[float, ...]:
    """Give up to twice *count* quantiles, rising.

    Where one value fills most rows (no capital gain), all quantiles of the rows are that value: those of the
    distinct values stand beside them.
    """
    shares = np.linspace(0, 1, count)
    parts = [np.quantile(part, shares, method=method) for part in (sample, np.unique(sample))]
    return tuple(np.unique(np.concatenate(parts)).tolist())
