"""Reads logged impressions, and refuses those that cannot be split by time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from contract.versions import sha256_of
from training.errors import LogError
from training.fusing.log import DOCUMENT_KEY, ImpressionLog, LogDocument, joined_fingerprint

__all__ = ["Roles", "read_log"]

Array = NDArray[Any]
_SORT = "give every row of a request the request's time, and sort the rows by time and request_id"
_SAY = "say which columns are which with --head, --field and --outcome"


class Roles:
    """Which columns are which, as a caller says it of a log that does not say it itself.

    Args:
        heads: Predictions.
        fields: Numbers known before the impression.
        outcomes: What came of it.
    """

    def __init__(self, heads: Sequence[str] = (), fields: Sequence[str] = (), outcomes: Sequence[str] = ()) -> None:
        self.heads = tuple(heads)
        self.fields = tuple(fields)
        self.outcomes = tuple(outcomes)

    def document(self, written: LogDocument | None, where: Path) -> LogDocument:
        """Give the roles that the file states, or the caller's where it states none.

        Raises:
            LogError: When neither says it, they contradict each other, or a column has two roles.
        """
        if written is not None:
            if strange := set(self.outcomes) - set(written.outcomes):
                known = ", ".join(written.outcomes)
                raise LogError(f"{where} says that {min(strange)!r} is no outcome", fix=f"its outcomes are: {known}")
            return written
        try:
            return LogDocument(heads=self.heads, fields=self.fields, outcomes=self.outcomes)
        except ValidationError as error:
            raise LogError(f"{where}: {_problem(error)}", fix=_SAY) from None


def read_log(path: Path, roles: Roles | None = None) -> ImpressionLog:
    """Read a file or a folder of impressions.

    Raises:
        LogError: When a column is missing or of a wrong type, rows are not in order of time, the rows of a request
            are apart, or the ranker was trained on these impressions.
    """
    files = _files(path)
    document = (roles or Roles()).document(_written(files), path)
    if document.source is not None and document.source.split == "train":
        raise LogError(
            f"{path} holds impressions that its ranker was trained on: their heads look better than they are",
            fix="score the validation split, and judge on the test split",
        )
    table = pa.concat_tables([_selected(file, document) for file in files])
    if not table.num_rows:
        raise LogError(f"{path} holds no impressions")
    times, starts, requests = _requests(table, path)
    return ImpressionLog(
        document=document,
        requests=requests,
        times=times[starts],
        offsets=np.r_[starts, table.num_rows].astype(np.int64),
        columns={name: _numbers(table[name]) for name in document.columns()},
        fingerprint=joined_fingerprint([sha256_of(file) for file in files]),
    )


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return " ".join([*(str(part) for part in first["loc"]), first["msg"]])


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(each for each in path.glob("*.parquet") if each.name[0] not in "._")
    if not files:
        raise LogError(f"{path} holds no Parquet file", fix="write one with `fulcrum fuse score`")
    return files


def _written(files: Sequence[Path]) -> LogDocument | None:
    """Read the roles that the files themselves state; None unless all state the same."""
    found = {_schema(file).metadata.get(DOCUMENT_KEY) if _schema(file).metadata else None for file in files}
    text = found.pop()
    if found or text is None:
        return None
    try:
        return LogDocument.model_validate_json(text)
    except ValidationError as error:
        raise LogError(f"{files[0]}: {_problem(error)}", fix="write it again with `fulcrum fuse score`") from None


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise LogError(f"{file} is no Parquet file: {error}") from None


def _selected(file: Path, document: LogDocument) -> pa.Table:
    schema = _schema(file)
    names = ("request_id", "time", *document.columns())
    for name in names:
        if schema.get_field_index(name) < 0:
            raise LogError(f"{file} has no column {name!r}", fix=f"it has: {', '.join(schema.names)}")
    if not pa.types.is_timestamp(schema.field("time").type):
        raise LogError(f"{file}: the column 'time' is {schema.field('time').type}", fix="write it as a timestamp")
    for name in document.columns():
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise LogError(f"{file}: the column {name!r} is {kind}, no number", fix="leave it out or write a number")
    table = pq.read_table(file, columns=list(names)).select(names)
    time = table["time"].cast(pa.timestamp("us"), safe=False)
    requests = table["request_id"].cast(pa.string())
    plain = table.set_column(0, "request_id", requests).set_column(1, "time", time)
    return plain.replace_schema_metadata(None)


def _requests(table: pa.Table, path: Path) -> tuple[Array, Array, Array]:
    """Give the time of every row, the first row of every request, and the requests' ids."""
    for name in ("request_id", "time"):
        if table[name].null_count:
            raise LogError(f"{path}: {table[name].null_count} rows have no {name}", fix="fill it in or leave them out")
    times = table["time"].to_numpy()
    if len(falls := np.flatnonzero(times[1:] < times[:-1])):
        row = int(falls[0]) + 1
        raise LogError(f"{path}: row {row} is earlier than the row before it: not ordered by time", fix=_SORT)
    coded = pc.dictionary_encode(table["request_id"].combine_chunks())
    codes = coded.indices.to_numpy()
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    if len(starts) != len(coded.dictionary):
        again = np.bincount(codes[starts]).argmax()
        raise LogError(f"{path}: the rows of request {coded.dictionary[int(again)].as_py()!r} are apart", fix=_SORT)
    return times, starts, np.asarray(coded.dictionary.to_numpy(zero_copy_only=False))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    plain = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return np.asarray(plain.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
