"""The prepared dataset: one row a request, its impressions beside it, and one document that says what is what.

::

    <dir>/dataset.json        DatasetInfo
          train.parquet       ordered by time, row groups of a few thousand requests
          validation.parquet  later than train
          test.parquet        later than validation
          items.parquet       optional: item_id and the static candidate fields

Columns of a split: ``request_id``, ``time``, the user key, request fields as scalars (sequences and vectors as
lists), ``item_id`` and candidate fields as lists of equal length, labels as lists of float32, null where not
defined, and, where the dataset weighs its rows, their weights as lists of float32.
"""

import hashlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, ValidationError, model_validator

from contract.frozen import Frozen
from training.data.declarations import FieldDeclaration, LabelDeclaration, check_fields
from training.data.weights import checked_weights
from training.errors import DataError

__all__ = [
    "Dataset",
    "DatasetInfo",
    "DatasetWriter",
    "FieldDeclaration",
    "LabelDeclaration",
    "SplitInfo",
    "open_dataset",
]

SPLITS = ("train", "validation", "test")
_INFO = "dataset.json"
_ITEMS = "items.parquet"


class SplitInfo(Frozen):
    """Size, span and checksum of one split; times in ISO 8601."""

    file: str
    requests: int
    rows: int
    first_time: str
    last_time: str
    sha256: str


class DatasetInfo(Frozen):
    """What a prepared dataset holds.

    Args:
        user_key: Column that names the user, for GAUC.
        weight: Column that says how much each row counts in training; None where all count the same.
        baselines: Name to a formula over number fields, to compare rankings with.
        notes: What a reader of the numbers has to know.
    """

    name: str
    description: str = ""
    fields: tuple[FieldDeclaration, ...] = Field(min_length=1)
    labels: tuple[LabelDeclaration, ...] = Field(min_length=1)
    user_key: str = "user_id"
    weight: str | None = None
    default_formula: str
    baselines: dict[str, str] = Field(default_factory=dict)
    notes: str = ""
    splits: dict[str, SplitInfo] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_fields(self.fields)
        columns = ["request_id", "time", "item_id", *([self.weight] if self.weight else [])]
        columns += [field.name for field in self.fields] + [label.name for label in self.labels]
        if len(set(columns)) != len(columns):
            msg = f"column names repeat: {sorted({name for name in columns if columns.count(name) > 1})}"
            raise ValueError(msg)
        return self

    def arrow_schema(self) -> pa.Schema:
        """Give the schema of every split."""
        columns = {"request_id": pa.string(), "time": pa.timestamp("us"), self.user_key: pa.string()}
        columns |= {field.name: field.column_type for field in self.fields if field.side == "request"}
        columns["item_id"] = pa.list_(pa.string())
        columns |= {field.name: field.column_type for field in self.fields if field.side == "candidate"}
        columns |= {label.name: pa.list_(pa.float32()) for label in self.labels}
        if self.weight is not None:
            columns[self.weight] = pa.list_(pa.float32())
        return pa.schema(list(columns.items()))


class Dataset:
    """A prepared dataset that was opened.

    Args:
        path: Its folder.
        info: What it holds.
    """

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path = path
        self.info = info

    @property
    def items_path(self) -> Path | None:
        """The item table, where there is one."""
        path = self.path / _ITEMS
        return path if path.is_file() else None

    @property
    def fingerprint(self) -> str:
        """One sha256 over the checksums of all splits, and of the vectors that tables start from."""
        lines = [f"{name} {split.sha256}" for name, split in sorted(self.info.splits.items())]
        lines += [_sha256(self.path / field.pretrained) for field in self.info.fields if field.pretrained]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def row_groups(self, split: str) -> Iterator[pa.Table]:
        """Read a split one row group at a time.

        Raises:
            DataError: When the dataset has no such split.
        """
        if split not in self.info.splits:
            raise DataError(f"{self.path} has no split {split!r}", fix=f"it has {', '.join(self.info.splits)}")
        with pq.ParquetFile(self.path / self.info.splits[split].file) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False)


def open_dataset(path: Path) -> Dataset:
    """Open a prepared dataset and check that its files hold what it declares.

    Raises:
        DataError: Naming the file and the column.
    """
    try:
        info = DatasetInfo.model_validate_json((path / _INFO).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is no prepared dataset", fix=f"it holds no {_INFO}") from None
    except ValidationError as error:
        raise DataError(f"{path / _INFO}: {error.errors()[0]['msg']}", fix="prepare the data again") from None
    for split in info.splits.values():
        _check_columns(path / split.file, info.arrow_schema())
    for field in info.fields:
        if field.pretrained is not None and not (path / field.pretrained).is_file():
            raise DataError(f"{path / field.pretrained}, which {field.name!r} starts from, is missing")
    return Dataset(path, info)


def _check_columns(path: Path, wanted: pa.Schema) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing", fix="prepare the data again")
    found = pq.read_schema(path)
    for field in wanted:
        position = found.get_field_index(field.name)
        if position < 0 or not _same_type(found.field(position).type, field.type):
            have = "no such column" if position < 0 else str(found.field(position).type)
            raise DataError(f"{path}: column {field.name!r} must be {field.type}, found {have}")


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    if pa.types.is_list(a) and pa.types.is_list(b):
        return _same_type(a.value_type, b.value_type)
    return bool(a == b)


class DatasetWriter:
    """Writes a prepared dataset, streaming; it appears whole when the block ends, or not at all.

    Args:
        path: Where it will stand; an older one there is replaced.
        info: What it holds; ``splits`` are filled in here.
    """

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path = path
        self.info = info
        self._draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._sizes: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        """Make the hidden folder.

        Raises:
            DataError: When something else than a prepared dataset stands at the path; it would be lost.
        """
        if self.path.exists() and not (self.path / _INFO).is_file() and any(self.path.iterdir()):
            raise DataError(f"{self.path} is there and is no prepared dataset", fix="name a new folder")
        self._draft.mkdir(parents=True)
        return self

    def write(self, split: str, table: pa.Table) -> None:
        """Append requests to a split, as one row group, in order of time.

        Raises:
            DataError: When a column is missing, has another type or another length, or a weight is not usable.
        """
        schema = self.info.arrow_schema()
        if not table.num_rows:
            return
        try:
            table = table.select(schema.names).cast(schema)
        except (KeyError, pa.ArrowInvalid, ValueError) as error:
            raise DataError(f"the rows of {split!r} do not fit the declaration: {error}") from None
        self._check_lengths(split, table)
        if self.info.weight is not None:
            checked_weights(table, self.info.weight, split)
        if split not in self._writers:
            self._writers[split] = pq.ParquetWriter(self._draft / f"{split}.parquet", schema, compression="zstd")
            self._sizes[split] = {"requests": 0, "rows": 0, "first_time": str(table["time"][0])}
        self._writers[split].write_table(table, row_group_size=max(1, table.num_rows))
        size = self._sizes[split]
        size["requests"] += table.num_rows
        size["rows"] += len(table["item_id"].combine_chunks().flatten())
        size["last_time"] = str(table["time"][-1])

    def _check_lengths(self, split: str, table: pa.Table) -> None:
        wanted = pc.list_value_length(table["item_id"])
        names = [field.name for field in self.info.fields if field.side == "candidate"]
        names += [label.name for label in self.info.labels]
        for name in names + [self.info.weight] * (self.info.weight is not None):
            if not pc.list_value_length(table[name]).equals(wanted):
                raise DataError(f"{split}: the lists of {name!r} are not as long as those of item_id")

    def write_items(self, items: pa.Table) -> None:
        """Write the item table: ``item_id`` and the static candidate fields."""
        static = [field for field in self.info.fields if field.static]
        schema = pa.schema([("item_id", pa.string()), *((field.name, field.value_type) for field in static)])
        pq.write_table(items.select(schema.names).cast(schema), self._draft / _ITEMS, compression="zstd")

    def add_file(self, source: Path) -> None:
        """Copy a file that the declaration names, such as the vectors that a table starts from, into the dataset."""
        shutil.copyfile(source, self._draft / source.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish by rename, or leave nothing."""
        for writer in self._writers.values():
            writer.close()
        if kind is None:
            self._publish()
        shutil.rmtree(self._draft, ignore_errors=True)

    def _publish(self) -> None:
        splits = {
            name: SplitInfo(file=f"{name}.parquet", sha256=_sha256(self._draft / f"{name}.parquet"), **size)
            for name, size in self._sizes.items()
        }
        info = self.info.model_copy(update={"splits": splits})
        (self._draft / _INFO).write_text(info.model_dump_json(indent=1) + "\n")
        if self.path.exists():
            shutil.rmtree(self.path)
        self._draft.rename(self.path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
