"""Raw columns, checked: what a client or a data set gives, to plain lists and arrays.

A column is a list (from JSON) or a NumPy array (from Parquet), one value a row; None stands for a missing value,
and so does NaN where a column holds numbers. Every refusal names its place as a JSON pointer.
"""

from collections.abc import Callable, Iterable
from itertools import accumulate, chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray, IntArray
from contract.errors import EncodingError
from contract.features import Numeric, Vector

__all__ = ["checked_length", "id_column", "list_column", "numeric_column", "vector_column", "whole_numbers"]

_WANTED: dict[str, tuple[type, ...]] = {"string": (str,), "int": (int,), "float": (int, float)}
_NAMES = {"string": "a string", "int": "a whole number", "float": "a number"}
_Place = Callable[[int], str]


def numeric_column(field: Numeric, values: Any, rows: int, *, path: str = "") -> FloatArray:
    """Give a number field's raw values as float64 ``[rows]``, defaults filled in.

    Raises:
        EncodingError: For a wrong length, a value that is not a number, or an infinity.
    """
    if values is None:
        return np.full(rows, field.default)
    checked_length(values, rows, path)
    raw = _as_floats(values, _in_column(path))
    infinite = np.isinf(raw)
    if infinite.any():
        raise EncodingError(
            "the number is infinite",
            fix="send a finite number, or null where it is not known",
            path=f"{path}/{int(np.argmax(infinite))}",
        )
    return np.where(np.isnan(raw), field.default, raw)


def vector_column(field: Vector, values: Any, rows: int, *, path: str = "") -> NDArray[np.float32]:
    """Give a vector field's values, divided by its scale, as float32 ``[rows, dim]``; zeros where missing.

    Raises:
        EncodingError: For a wrong length of the column or of a vector, or a number that is missing or not finite.
    """
    out = np.zeros((rows, field.dim), dtype=np.float32)
    if values is None:
        return out
    checked_length(values, rows, path)
    given = [row for row, value in enumerate(values) if value is not None]
    vectors = [_one_list(values[row], "a vector", f"{path}/{row}") for row in given]
    for row, vector in zip(given, vectors, strict=True):
        _check_dim(field, vector, f"{path}/{row}")
    if not given:
        return out

    def place(position: int) -> str:
        return f"{path}/{given[position // field.dim]}/{position % field.dim}"

    with np.errstate(over="ignore"):  # refused just below
        numbers = (_flat_floats(vectors, place) / field.scale).astype(np.float32)
    unusable = ~np.isfinite(numbers)
    if unusable.any():
        raise EncodingError(
            "a number of the vector is missing, infinite or too large",
            fix=f"send {field.dim} finite numbers, or null in place of the whole vector",
            path=place(int(np.argmax(unusable))),
        )
    out[given] = numbers.reshape(len(given), field.dim)
    return out


def id_column(values: Any, rows: int, dtype: str, place: str) -> list[Any]:
    """Give an id field's raw values, checked; NaN in a float array is how Parquet readers spell a missing id.

    Raises:
        EncodingError: For a wrong length or a value of another type.
    """
    checked_length(values, rows, place)
    plain = _as_list(values)
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind == "f":
        plain = [None if value != value else value for value in plain]
    return _checked(plain, dtype, _in_column(place))


def whole_numbers(values: Any, rows: int, place: str) -> IntArray | None:
    """Give a column of whole numbers as int64 ``[rows]`` where it is just that; None where anything else is in it.

    Raises:
        EncodingError: For a wrong length.
    """
    checked_length(values, rows, place)
    if isinstance(values, np.ndarray):
        return values.astype(np.int64) if values.ndim == 1 and values.dtype.kind == "i" else None
    if set(map(type, values)) != {int}:
        return None
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        return None


def list_column(values: Any, rows: int, dtype: str, most: int, place: str) -> tuple[list[Any], NDArray[np.int64]]:
    """Give a sequence field's raw values end to end, and how many each row has: its first *most*.

    Raises:
        EncodingError: For a wrong length, a row that is no list, or a value of another type.
    """
    checked_length(values, rows, place)
    lists = [_as_list(_one_list(value, "a sequence", f"{place}/{row}")[:most]) for row, value in enumerate(values)]
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    return _checked(list(chain.from_iterable(lists)), dtype, _in_lists(lengths, place)), lengths


def checked_length(values: Any, rows: int, place: str) -> None:
    """Refuse what is no column of *rows* values.

    Raises:
        EncodingError: With the place of the column.
    """
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


def _check_dim(field: Vector, vector: Any, place: str) -> None:
    if len(vector) != field.dim:
        raise EncodingError(
            f"the vector has {len(vector)} numbers, the field takes {field.dim}",
            fix=f"send {field.dim} numbers, or null where the vector is not known",
            path=place,
        )


def _flat_floats(vectors: list[Any], place: _Place) -> FloatArray:
    if all(isinstance(v, np.ndarray) and v.ndim == 1 and v.dtype.kind in "iuf" for v in vectors):
        return np.concatenate(vectors).astype(np.float64)
    return _to_floats(list(chain.from_iterable(map(_as_list, vectors))), place)


def _as_floats(values: Any, place: _Place) -> FloatArray:
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf":
        return values.astype(np.float64)
    # Dates would become whole numbers in `tolist`.
    plain = _as_list(values) if not isinstance(values, np.ndarray) or values.dtype.kind in "bOU" else list(values)
    return _to_floats(plain, place)


def _to_floats(values: list[Any], place: _Place) -> FloatArray:
    numbers = _checked(values, "float", place)
    try:
        return np.asarray(numbers, dtype=np.float64)
    except OverflowError:
        position = next(position for position, value in enumerate(numbers) if _too_large(value))
        raise EncodingError(
            "the number is too large", fix="send a number that a 64-bit float can hold", path=place(position)
        ) from None


def _too_large(value: Any) -> bool:
    try:
        np.float64(value)
    except OverflowError:
        return True
    return False


def _as_list(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _one_list(value: Any, what: str, place: str) -> Any:
    if value is None:
        return []
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0):
        return value
    raise EncodingError(f"the field is {what}, but this is {_called(value)}", fix="send a list of values", path=place)


def _checked(values: list[Any], dtype: str, place: _Place) -> list[Any]:
    """Give *values* back if each has the declared type; bool never counts as a number."""
    wanted = _WANTED[dtype]
    if set(map(type, values)) - {*wanted, type(None)}:
        position = next(i for i, value in enumerate(values) if value is not None and type(value) not in wanted)
        raise EncodingError(
            f"the field takes {_NAMES[dtype]}, but this is {_called(values[position])}",
            fix=f"send {_NAMES[dtype]}, or null where it is not known",
            path=place(position),
        )
    return values


def _in_column(path: str) -> _Place:
    return lambda row: f"{path}/{row}"


def _in_lists(lengths: Iterable[int], path: str) -> _Place:
    """Give where a value of lists that were laid end to end stood: its row, and its position there."""

    def place(position: int) -> str:
        ends = list(accumulate(lengths))
        row = next(row for row, end in enumerate(ends) if position < end)
        return f"{path}/{row}/{position - ([0, *ends][row])}"

    return place


def _called(value: Any) -> str:
    known = {bool: "a boolean", str: "a string", dict: "an object", list: "a list", float: "a fraction"}
    return known.get(type(value), "a whole number" if isinstance(value, int) else f"a {type(value).__name__}")
