"""Raw values to the graph's arrays: the one code for data sets and for requests.

Columns come in as lists (from JSON) or as NumPy arrays (from Parquet). Both take the same path, so training
and serving cannot encode differently.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import IntArray, SideArrays
from contract.errors import EncodingError
from contract.features import (
    FIRST_ID,
    MISSING_ID,
    SIDES,
    UNKNOWN_ID,
    DenseField,
    FeatureSchema,
    Hashed,
    IdField,
    Sequence,
    Side,
    Vector,
    id_width,
)
from contract.scaling import scale
from contract.values import id_column, list_column, numeric_column, vector_column

__all__ = ["Encoder", "hash_bucket", "numeric_column"]

_Lookup = Callable[[list[Any]], IntArray]


class Encoder:
    """Encodes raw columns by a fitted schema.

    Args:
        schema: The fields; only its own fields are accepted, a missing one takes its default.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        self._tables = {
            table: {value: FIRST_ID + row for row, value in enumerate(values)}
            for table, values in schema.vocabularies.items()
        }
        self._known = {side: {field.name for field in schema.on(side)} for side in SIDES}

    def encode(self, side: Side, columns: Mapping[str, Any], num_rows: int, *, path: str = "") -> SideArrays:
        """Encode one side.

        Args:
            side: Which fields to encode.
            columns: Field name to *num_rows* raw values (a list or a NumPy array; None or NaN is missing).
            num_rows: Rows to give back.
            path: JSON pointer of *columns* in the caller's document, for error messages.

        Raises:
            EncodingError: For an unknown field, a wrong length, a wrong type or an infinite number.
        """
        self.refuse_unknown(side, columns, path=path)
        ids = [self._id_columns(field, columns, num_rows, path) for field in self.schema.ids_on(side)]
        dense = [self._dense_columns(field, columns, num_rows, path) for field in self.schema.dense_on(side)]
        return SideArrays(
            ids=np.concatenate(ids, axis=1) if ids else np.zeros((num_rows, 0), np.int64),
            dense=np.concatenate(dense, axis=1) if dense else np.zeros((num_rows, 0), np.float32),
        )

    def encode_request(self, values: Mapping[str, Any], *, path: str = "/request") -> SideArrays:
        """Encode the request side of one request, given as plain values."""
        columns = {name: [value] for name, value in values.items()}
        try:
            return self.encode("request", columns, 1, path=path)
        except EncodingError as error:  # "/request/hour/0" means nothing to one who sent a scalar
            where = error.path.split("/")
            raise EncodingError(error.detail, fix=error.fix, path="/".join(where[:3] + where[4:])) from None

    def overlay(
        self, base: SideArrays, columns: Mapping[str, Any], *, side: Side = "candidate", path: str = ""
    ) -> SideArrays:
        """Replace, in already encoded rows, the fields that *columns* gives anew."""
        if not columns:
            return base
        fresh = self.encode(side, columns, len(base), path=path)
        ids, dense = base.ids.copy(), base.dense.copy()
        for packed, new, spans in (
            (ids, fresh.ids, self.schema.id_spans(side)),
            (dense, fresh.dense, self.schema.dense_spans(side)),
        ):
            for name in spans.keys() & columns.keys():
                packed[:, spans[name]] = new[:, spans[name]]
        return SideArrays(ids=ids, dense=dense)

    def refuse_unknown(self, side: Side, columns: Mapping[str, Any], *, path: str = "") -> None:
        """Refuse fields that the schema does not have on this side.

        Raises:
            EncodingError: Naming the first such field.
        """
        unknown = columns.keys() - self._known[side]
        if unknown:
            name = min(unknown)
            raise EncodingError(
                f"the model has no {side} field {name!r}",
                fix=f"{side} fields are: {', '.join(sorted(self._known[side])) or 'none'}",
                path=f"{path}/{name}",
            )

    def _id_columns(self, field: IdField, columns: Mapping[str, Any], rows: int, path: str) -> IntArray:
        values = columns.get(field.name)
        if values is None:
            return np.full((rows, id_width(field)), MISSING_ID, dtype=np.int64)
        place = f"{path}/{field.name}"
        if isinstance(field, Sequence):
            return self._sequence(field, values, rows, place)
        return self._lookup(field)(id_column(values, rows, field.dtype, place)).reshape(rows, 1)

    def _lookup(self, field: IdField) -> _Lookup:
        if isinstance(field, Hashed):
            return lambda values: hash_bucket(values, field.buckets)
        table = self._tables.get(field.table)
        if table is None:
            buckets = self.schema.table_size(field.table) - FIRST_ID
            return lambda values: hash_bucket(values, buckets)
        return lambda values: _vocabulary_ids(values, table)

    def _sequence(self, field: Sequence, values: Any, rows: int, place: str) -> IntArray:
        flat, lengths = list_column(values, rows, field.dtype, field.max_length, place)
        out = np.full((rows, field.max_length), MISSING_ID, dtype=np.int64)
        out[np.arange(field.max_length) < lengths[:, None]] = self._lookup(field)(flat)
        return out

    def _dense_columns(
        self, field: DenseField, columns: Mapping[str, Any], rows: int, path: str
    ) -> NDArray[np.float32]:
        values, place = columns.get(field.name), f"{path}/{field.name}"
        if isinstance(field, Vector):
            return vector_column(field, values, rows, path=place)
        return scale(field.scaling, numeric_column(field, values, rows, path=place))


def hash_bucket(values: list[Any], buckets: int) -> IntArray:
    """Put values into buckets ``2 … buckets + 1``, the same on every machine and in every release.

    Strings go through CRC-32 first; both kinds through the finaliser of SplitMix64 (Steele et al.,
    OOPSLA 2014), so that neighbouring numbers do not share neighbouring buckets. None gives the missing row.
    """
    missing = np.fromiter((value is None for value in values), dtype=bool, count=len(values))
    raw = np.fromiter(map(_as_word, values), dtype=np.uint64, count=len(values))
    mixed = (raw ^ (raw >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    ids = (mixed % np.uint64(buckets)).astype(np.int64) + FIRST_ID
    ids[missing] = MISSING_ID
    return ids


def _as_word(value: Any) -> int:
    if value is None:
        return 0
    return zlib.crc32(value.encode(errors="surrogatepass")) if isinstance(value, str) else value & 0xFFFF_FFFF_FFFF_FFFF


def _vocabulary_ids(values: list[Any], table: Mapping[Any, int]) -> IntArray:
    find = table.get
    return np.fromiter(
        (MISSING_ID if value is None else find(value, UNKNOWN_ID) for value in values),
        dtype=np.int64,
        count=len(values),
    )
