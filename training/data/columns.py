"""Encoded splits on disk: plain memory-mapped arrays, written one row group at a time.

Encoding happens once, with the contract's own encoder; training then reads arrays and never touches Python
objects. Only the pages of the batch in hand need memory, however many rows there are.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from contract.arrays import GraphInputs, SideArrays
from contract.encoding import Encoder
from contract.errors import EncodingError
from contract.features import SIDES, FeatureSchema, Side
from training.data.declarations import FieldDeclaration
from training.data.format import Dataset
from training.data.schema import flat_column
from training.data.weights import checked_weights, scale_to_mean_one
from training.errors import DataError

__all__ = ["EncodedSplit", "encode_split", "group_keys", "raw_column", "raw_columns"]


@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """One split, encoded.

    Args:
        request: R rows.
        candidate: N rows, the candidates of request r at ``offsets[r] : offsets[r + 1]``.
        offsets: int64 ``[R + 1]``.
        labels: Label name to float32 ``[N]``, NaN where it is not defined.
        groups: int64 ``[R]``: a stable hash of the user, for GAUC.
        weights: float32 ``[N]``, 1 in the mean; None where all rows count the same.
    """

    request: SideArrays
    candidate: SideArrays
    offsets: NDArray[np.int64]
    labels: dict[str, NDArray[np.float32]]
    groups: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None

    @property
    def num_requests(self) -> int:
        """Lists."""
        return len(self.offsets) - 1

    @property
    def num_rows(self) -> int:
        """Candidates of all lists."""
        return int(self.offsets[-1])

    def list_of_row(self) -> NDArray[np.int64]:
        """Give the list of every row, ``[N]``."""
        return np.repeat(np.arange(self.num_requests), np.diff(self.offsets))

    def span(self, start: int, stop: int) -> GraphInputs:
        """Give requests *start* to *stop* and their candidates, as the graph takes them."""
        lengths = np.diff(self.offsets[start : stop + 1])
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        return GraphInputs(
            request=self.request.take(slice(start, stop)),
            candidate=self.candidate.take(rows),
            request_index=np.repeat(np.arange(stop - start), lengths),
        )


def encode_split(dataset: Dataset, split: str, schema: FeatureSchema, folder: Path) -> EncodedSplit:
    """Encode one split into *folder* and map it.

    Raises:
        DataError: When a value does not fit the schema, or a weight cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _Arrays(folder, schema, dataset, split)
    encoder = Encoder(schema)
    for table in dataset.row_groups(split):
        try:
            arrays.append(table, encoder)
        except EncodingError as error:
            raise DataError(f"{dataset.path}, {split}: {error.path}: {error.detail}", fix=error.fix) from None
    return arrays.finish()


class _Arrays:
    """The files of one split while they are written."""

    def __init__(self, folder: Path, schema: FeatureSchema, dataset: Dataset, split: str) -> None:
        def new(name: str, dtype: type, *shape: int) -> NDArray[Any]:
            if 0 in shape:  # a file of no bytes cannot be mapped
                return np.zeros(shape, dtype=dtype)
            return open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)

        info = dataset.info
        requests, rows = info.splits[split].requests, info.splits[split].rows
        self.dataset, self.split = dataset, split
        self.sides: dict[Side, SideArrays] = {
            side: SideArrays(
                ids=new(f"{side}_ids", np.int64, count, schema.id_columns(side)),
                dense=new(f"{side}_dense", np.float32, count, schema.dense_columns(side)),
            )
            for side, count in zip(SIDES, (requests, rows), strict=True)
        }
        self.offsets = new("offsets", np.int64, requests + 1)
        self.groups = new("groups", np.int64, requests)
        self.labels = {label.name: new(f"label_{label.name}", np.float32, rows) for label in info.labels}
        self.weights = None if info.weight is None else new("weights", np.float32, rows)
        self.requests = self.rows = 0

    def append(self, table: pa.Table, encoder: Encoder) -> None:
        items = table["item_id"].combine_chunks()
        lengths = np.diff(items.offsets.to_numpy())
        r = slice(self.requests, self.requests + table.num_rows)
        n = slice(self.rows, self.rows + int(lengths.sum()))
        for side, place in zip(SIDES, (r, n), strict=True):
            columns = raw_columns(table, self.dataset, side)
            encoded = encoder.encode(side, columns, place.stop - place.start)
            self.sides[side].ids[place] = encoded.ids
            self.sides[side].dense[place] = encoded.dense
        self.offsets[r.start + 1 : r.stop + 1] = self.rows + np.cumsum(lengths)
        self.groups[r] = group_keys(table[self.dataset.info.user_key].to_pylist())
        for name, column in self.labels.items():
            column[n] = _floats(table[name].combine_chunks().flatten())
        if self.weights is not None:
            self.weights[n] = checked_weights(table, str(self.dataset.info.weight), self.split)
        self.requests, self.rows = r.stop, n.stop

    def finish(self) -> EncodedSplit:
        if self.weights is not None:
            scale_to_mean_one(self.weights, self.split)
        return EncodedSplit(
            request=self.sides["request"],
            candidate=self.sides["candidate"],
            offsets=self.offsets,
            labels=self.labels,
            groups=self.groups,
            weights=self.weights,
        )


def group_keys(users: list[str]) -> NDArray[np.int64]:
    """Give each user a 63-bit key; wide enough that two users hardly ever share one, as they would in 32 bits."""
    digests = [hashlib.blake2b(user.encode(), digest_size=8).digest() for user in users]
    return np.frombuffer(b"".join(digests), dtype=np.int64) & np.int64(2**63 - 1)


def raw_columns(table: pa.Table, dataset: Dataset, side: Side) -> dict[str, Any]:
    """Give the raw columns of one side as the encoder takes them."""
    return {field.name: raw_column(table, field) for field in dataset.info.fields if field.side == side}


def raw_column(table: pa.Table, field: FieldDeclaration) -> Any:
    """Give one raw column: numbers as an array, vectors as a list of arrays, all else as a list of plain values."""
    column = flat_column(table, field)
    if field.kind == "numeric":
        return _floats(column, np.float64)
    return _vectors(column) if field.kind == "vector" else column.to_pylist()


def _vectors(column: pa.ListArray) -> list[NDArray[Any] | None]:
    """Give one array a row, without a Python object a number; None where the row is null."""
    ends = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy())
    rows = np.split(column.flatten().to_numpy(zero_copy_only=False), ends[:-1]) if len(ends) else []
    return [row if given else None for row, given in zip(rows, column.is_valid().to_pylist(), strict=True)]


def _floats(column: pa.Array, dtype: type = np.float32) -> NDArray[Any]:
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=dtype)
