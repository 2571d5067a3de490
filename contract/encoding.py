"""Raw values to the graph's arrays: the one code for data sets and for requests.

Columns come in as lists (from JSON) or as NumPy arrays (from Parquet). Both take the same path, so training
and serving cannot encode differently.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray, IntArray, SideArrays
from contract.errors import EncodingError
from contract.features import (
    FIRST_ID,
    MISSING_ID,
    SIDES,
    UNKNOWN_ID,
    FeatureSchema,
    Hashed,
    IdField,
    LogStandard,
    Numeric,
    Scaling,
    Sequence,
    Side,
    Standard,
    id_width,
)

__all__ = ["Encoder", "hash_bucket", "numeric_column", "scale"]

CLIP = 10.0
_WANTED: dict[str, tuple[type, ...]] = {"string": (str,), "int": (int,), "float": (int, float)}
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
        dense = [self._dense_column(f, columns, num_rows, path) for f in self.schema.numbers_on(side)]
        return SideArrays(
            ids=np.concatenate(ids, axis=1) if ids else np.zeros((num_rows, 0), np.int64),
            dense=np.stack(dense, axis=1) if dense else np.zeros((num_rows, 0), np.float32),
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
        ids, dense, start = base.ids.copy(), base.dense.copy(), 0
        for field in self.schema.ids_on(side):
            stop = start + id_width(field)
            if field.name in columns:
                ids[:, start:stop] = fresh.ids[:, start:stop]
            start = stop
        for position, number in enumerate(self.schema.numbers_on(side)):
            if number.name in columns:
                dense[:, position] = fresh.dense[:, position]
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
        _check_length(values, rows, place)
        if isinstance(field, Sequence):
            return self._sequence(field, values, place)
        return self._lookup(field)(_checked(_id_list(values), field.dtype, place)).reshape(rows, 1)

    def _lookup(self, field: IdField) -> _Lookup:
        if isinstance(field, Hashed):
            return lambda values: hash_bucket(values, field.buckets)
        table = self._tables.get(field.table)
        if table is None:
            buckets = self.schema.table_size(field.table) - FIRST_ID
            return lambda values: hash_bucket(values, buckets)
        return lambda values: _vocabulary_ids(values, table)

    def _sequence(self, field: Sequence, values: Any, place: str) -> IntArray:
        rows = [_one_list(value, f"{place}/{row}")[: field.max_length] for row, value in enumerate(values)]
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        flat = _checked([value for row in rows for value in row], field.dtype, place)
        out = np.full((len(rows), field.max_length), MISSING_ID, dtype=np.int64)
        out[np.arange(field.max_length) < lengths[:, None]] = self._lookup(field)(flat)
        return out

    def _dense_column(self, field: Numeric, columns: Mapping[str, Any], rows: int, path: str) -> NDArray[np.float32]:
        raw = numeric_column(field, columns.get(field.name), rows, path=f"{path}/{field.name}")
        return scale(field.scaling, raw)


def numeric_column(field: Numeric, values: Any, rows: int, *, path: str = "") -> FloatArray:
    """Give a number field's raw values as float64 ``[rows]``, defaults filled in.

    Raises:
        EncodingError: For a wrong length, a value that is not a number, or an infinity.
    """
    if values is None:
        return np.full(rows, field.default)
    _check_length(values, rows, path)
    raw = _as_floats(values, path)
    infinite = np.isinf(raw)
    if infinite.any():
        raise EncodingError(
            "the number is infinite",
            fix="send a finite number, or null where it is not known",
            path=f"{path}/{int(np.argmax(infinite))}",
        )
    return np.where(np.isnan(raw), field.default, raw)


def _as_floats(values: Any, path: str) -> FloatArray:
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf":
        return values.astype(np.float64)
    # Dates would become whole numbers in `tolist`.
    plain = _as_list(values) if not isinstance(values, np.ndarray) or values.dtype.kind in "bOU" else list(values)
    numbers = _checked(plain, "float", path)
    try:
        return np.asarray(numbers, dtype=np.float64)
    except OverflowError:
        row = next(row for row, value in enumerate(numbers) if _too_large(value))
        raise EncodingError(
            "the number is too large", fix="send a number that a 64-bit float can hold", path=f"{path}/{row}"
        ) from None


def _too_large(value: Any) -> bool:
    try:
        np.float64(value)
    except OverflowError:
        return True
    return False


def scale(scaling: Scaling, raw: FloatArray) -> NDArray[np.float32]:
    """Bring raw values to the range that the network was trained on."""
    if isinstance(scaling, Standard):
        scaled = (raw - scaling.mean) / scaling.std
    elif isinstance(scaling, LogStandard):
        scaled = (np.log1p(np.maximum(raw, 0.0)) - scaling.mean) / scaling.std
    else:
        scaled = np.interp(raw, scaling.points, np.linspace(-1.0, 1.0, len(scaling.points)))
    return np.asarray(np.clip(scaled, -CLIP, CLIP), dtype=np.float32)


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


def _as_list(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _id_list(values: Any) -> list[Any]:
    """Give a column as a list; NaN in a float array is how Parquet readers spell a missing id."""
    plain = _as_list(values)
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind == "f":
        return [None if value != value else value for value in plain]
    return plain


def _one_list(value: Any, place: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list | tuple | np.ndarray):
        return _as_list(value)
    raise EncodingError(
        f"the field is a sequence, but this is {_called(value)}", fix="send a list of values", path=place
    )


def _check_length(values: Any, rows: int, place: str) -> None:
    if not isinstance(values, list | tuple | np.ndarray) or (isinstance(values, np.ndarray) and values.ndim == 0):
        raise EncodingError(
            f"a column must be a list, but this is {_called(values)}",
            fix="send one value for each candidate",
            path=place,
        )
    if len(values) != rows:
        raise EncodingError(
            f"the column has {len(values)} values for {rows} rows",
            fix="give every column one value for each candidate, null where it is not known",
            path=place,
        )


def _checked(values: Any, dtype: str, place: str) -> list[Any]:
    """Give *values* back if each has the declared type; bool never counts as a number."""
    wanted = _WANTED[dtype]
    if set(map(type, values)) - {*wanted, type(None)}:
        row = next(i for i, value in enumerate(values) if value is not None and type(value) not in wanted)
        raise EncodingError(
            f"the field takes {_NAMES[dtype]}, but this is {_called(values[row])}",
            fix=f"send {_NAMES[dtype]}, or null where it is not known",
            path=f"{place}/{row}",
        )
    return list(values)


_NAMES = {"string": "a string", "int": "a whole number", "float": "a number"}


def _called(value: Any) -> str:
    known = {bool: "a boolean", str: "a string", dict: "an object", list: "a list", float: "a fraction"}
    return known.get(type(value), "a whole number" if isinstance(value, int) else f"a {type(value).__name__}")
