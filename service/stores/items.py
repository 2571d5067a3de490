"""The item table, in memory: encoded once at load, so that a request by id costs one take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract.arrays import FloatArray, SideArrays
from contract.encoding import Encoder, numeric_column
from contract.errors import BundleError
from service.ports import ItemId, ItemRows

__all__ = ["MemoryItemStore", "read_items"]


class MemoryItemStore:
    """Items in arrays; the last row stands for every unknown item.

    Args:
        rows: Item id to its row.
        encoded: Every item's candidate side, and behind them one row with every field missing.
        numbers: Raw number fields in the same order.
    """

    def __init__(self, rows: Mapping[ItemId, int], encoded: SideArrays, numbers: Mapping[str, FloatArray]) -> None:
        self._rows = rows
        self._encoded = encoded
        self._numbers = numbers

    @property
    def encoded(self) -> SideArrays:
        """Every item's candidate side, as the rows that are fetched count; the last one stands for the unknown."""
        return self._encoded

    @classmethod
    def build(cls, encoder: Encoder, item_ids: Sequence[ItemId], columns: Mapping[str, Any]) -> "MemoryItemStore":
        """Encode a catalogue; of an item that is listed twice the later row counts.

        Raises:
            EncodingError: When a column does not fit the schema.
        """
        size = len(item_ids)
        stored = encoder.encode("candidate", columns, size, path="/items")
        missing = encoder.encode("candidate", {}, 1)
        encoded = SideArrays(
            ids=np.concatenate([stored.ids, missing.ids]), dense=np.concatenate([stored.dense, missing.dense])
        )
        numbers = {
            field.name: np.append(numeric_column(field, columns[field.name], size), field.default)
            for field in encoder.schema.numbers_on("candidate")
            if field.name in columns
        }
        return cls({item: row for row, item in enumerate(item_ids)}, encoded, numbers)

    async def fetch(self, item_ids: Sequence[ItemId]) -> ItemRows:
        """Give one row an id, in the order asked."""
        unknown = len(self._encoded) - 1
        find = self._rows.get
        rows = np.fromiter((find(item, unknown) for item in item_ids), dtype=np.int64, count=len(item_ids))
        return ItemRows(
            encoded=self._encoded.take(rows),
            numbers={name: values[rows] for name, values in self._numbers.items()},
            found=rows != unknown,
            table_rows=rows,
        )


def read_items(path: Path | None, encoder: Encoder) -> MemoryItemStore:
    """Load the item table of a bundle; without one, every item is unknown."""
    if path is None:
        return MemoryItemStore.build(encoder, [], {})
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{path} cannot be read: {error}", fix="publish the bundle again") from error
    columns = {name: _raw(encoder, name, table[name]) for name in table.column_names if name != "item_id"}
    return MemoryItemStore.build(encoder, table["item_id"].to_pylist(), columns)


def _raw(encoder: Encoder, name: str, column: pa.ChunkedArray) -> Any:
    """Give a column as the encoder takes it, numbers without a Python object each."""
    kinds = {field.name: field.kind for field in encoder.schema.on("candidate")}
    if kinds.get(name) == "numeric":
        return column.to_numpy().astype(np.float64)
    return _vectors(column.combine_chunks()) if kinds.get(name) == "vector" else column.to_pylist()


def _vectors(column: pa.ListArray) -> list[NDArray[Any] | None]:
    """Give one array a row; None where the row is null."""
    ends = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy())
    rows = np.split(column.flatten().to_numpy(zero_copy_only=False), ends[:-1]) if len(ends) else []
    return [row if given else None for row, given in zip(rows, column.is_valid().to_pylist(), strict=True)]
