"""Logged impressions: what the heads said of each candidate, and what came of it.

A Parquet file, or a folder of them read in order of name; one row an impression, the rows of a request together,
in order of time. Columns: ``request_id``, ``time``, one number a head, one a field, one an outcome. Which is which
stands in the file's metadata where ``fulcrum fuse score`` wrote it, and is said by the caller where it did not.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from contract.frozen import Frozen

__all__ = ["DOCUMENT_KEY", "RESERVED", "ImpressionLog", "LogDocument", "LogSource"]

Array = NDArray[Any]
RESERVED = ("request_id", "time", "item_id")
DOCUMENT_KEY = b"fulcrum.impressions"


class LogSource(Frozen):
    """Where a log that ``fulcrum fuse score`` wrote comes from."""

    dataset: str
    data_fingerprint: str
    split: str
    model: str
    version: int


class LogDocument(Frozen):
    """Which columns are which.

    Args:
        heads: Predictions that the ranker gave.
        fields: Numbers that were known before the impression.
        outcomes: What came of it; never an input.
        source: None for a log of another origin.
    """

    schema_version: Literal[1] = 1
    heads: tuple[str, ...] = Field(min_length=1)
    fields: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = Field(min_length=1)
    source: LogSource | None = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [*RESERVED, *self.columns()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            msg = f"the column {twice[0]!r} has two roles"
            raise ValueError(msg)
        return self

    def columns(self) -> tuple[str, ...]:
        """Name every column of numbers."""
        return (*self.heads, *self.fields, *self.outcomes)

    def variables(self) -> dict[str, str]:
        """Name what a fusion may read, and what each is."""
        return dict.fromkeys(self.fields, "field") | dict.fromkeys(self.heads, "head")


@dataclass(frozen=True, kw_only=True)
class ImpressionLog:
    """Impressions in memory: R requests, N rows, in order of time.

    Args:
        requests: Request ids, ``[R]``.
        times: Of each request's first row, datetime64 ``[R]``, never falling.
        offsets: int64 ``[R + 1]``: the rows of request r are ``offsets[r] : offsets[r + 1]``; none is empty.
        columns: Head, field or outcome to float64 ``[N]``, NaN where it is not known.
        fingerprint: sha256 of the files that it was read from.
    """

    document: LogDocument
    requests: Array
    times: Array
    offsets: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]
    fingerprint: str

    @property
    def num_requests(self) -> int:
        """Requests."""
        return len(self.requests)

    @property
    def num_rows(self) -> int:
        """Impressions of all requests."""
        return int(self.offsets[-1])

    def list_of_row(self) -> NDArray[np.int64]:
        """Give the request of every row, ``[N]``."""
        return np.repeat(np.arange(self.num_requests), np.diff(self.offsets))

    def named(self, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
        """Give some columns."""
        return {name: self.columns[name] for name in names}

    def span(self, start: int, stop: int) -> "ImpressionLog":
        """Give requests *start* to *stop*."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        return replace(
            self,
            requests=self.requests[start:stop],
            times=self.times[start:stop],
            offsets=self.offsets[start : stop + 1] - self.offsets[start],
            columns={name: column[rows] for name, column in self.columns.items()},
        )

    def where(self, keep: Array) -> "ImpressionLog":
        """Give the rows for which *keep* ``[N]`` is true; a request that loses all of them is left out."""
        if keep.all():
            return self
        lengths = np.add.reduceat(keep.astype(np.int64), self.offsets[:-1])
        full = lengths > 0
        return replace(
            self,
            requests=self.requests[full],
            times=self.times[full],
            offsets=np.r_[0, np.cumsum(lengths[full])].astype(np.int64),
            columns={name: column[keep] for name, column in self.columns.items()},
        )


def joined_fingerprint(digests: list[str]) -> str:
    """Give one sha256 over those of several files."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
