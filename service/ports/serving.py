"""What models need and give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray, GraphInputs, IntArray, Predictions, SideArrays
from contract.encoding import Encoder
from contract.manifest import Manifest

__all__ = ["Clock", "Inference", "ItemId", "ItemRows", "ItemStore", "ModelCatalog", "ModelRuntime", "ServedModel"]

ItemId = str | int
"""An item's name, as the item table has it: a number is another item than the same digits in a string."""


class Clock(Protocol):
    """Seconds on a clock that never goes back."""

    def __call__(self) -> float:
        """Give the time in seconds."""
        ...


class ModelRuntime(Protocol):
    """Runs a graph. Blocking and thread-safe."""

    def run(self, inputs: GraphInputs) -> Predictions:
        """Give the graph's outputs by name, each ``[N]``; same rows in, same rows out.

        Raises:
            InferenceFailed: When the graph fails.
        """
        ...

    def close(self) -> None:
        """Free what the graph holds."""
        ...


@dataclass(frozen=True, kw_only=True)
class ItemRows:
    """What an item store knows of some items.

    Args:
        encoded: Candidate side, encoded, one row an item; unknown items have every field missing.
        numbers: Raw values of the stored number fields, float64 ``[rows]``, for fusion formulas.
        found: Bool ``[rows]``: whether the store knew the item.
        table_rows: int64 ``[rows]``: where each stands in the table that was there at load; None where there is no
            such table.
    """

    encoded: SideArrays
    numbers: Mapping[str, FloatArray]
    found: NDArray[Any]
    table_rows: IntArray | None = None

    def rows_unless_changed(self, candidates: SideArrays) -> IntArray | None:
        """Give the table's rows of candidates that are as the table has them, -1 for those that are not."""
        if self.table_rows is None or candidates is self.encoded:
            return self.table_rows
        return np.where(candidates.differs(self.encoded), -1, self.table_rows)


class ItemStore(Protocol):
    """Item features by id."""

    async def fetch(self, item_ids: Sequence[ItemId]) -> ItemRows:
        """Give one row an id, in the order asked.

        Raises:
            StoreUnavailable: When the store does not answer.
        """
        ...


class ServedModel(Protocol):
    """One loaded version of one model; never changes under its caller."""

    version: int
    manifest: Manifest
    encoder: Encoder
    items: ItemStore

    def check_room(self, *, rows: int, deadline: float | None) -> None:
        """Refuse what :meth:`predict` would refuse now, before anything is spent on the request's features.

        Raises:
            Overloaded: When it would not be answered in time.
            DeadlineExceeded: When the deadline has passed.
            ShuttingDown: When the model is closed.
        """
        ...

    async def predict(self, inputs: GraphInputs, *, deadline: float | None) -> "Inference":
        """Score one request's rows, batched with whatever else waits.

        Args:
            inputs: One request and its candidates.
            deadline: A point on the monotonic clock, in seconds; None never expires.

        Raises:
            Overloaded: When it would not be answered in time; at once.
            DeadlineExceeded: When the deadline passes first.
            InferenceFailed: When the graph fails on the batch.
            ShuttingDown: When the model is closed.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One request's share of a batch.

    Args:
        heads: Calibrated values by head name, float32 ``[candidates]``.
        queue_s: Seconds that the request waited for its batch.
        infer_s: Seconds that the graph took for the whole batch.
    """

    heads: Predictions
    queue_s: float
    infer_s: float


class ModelCatalog(Protocol):
    """The models that are served now."""

    def current(self, name: str | None) -> ServedModel:
        """Give a snapshot of a model; None means the only one.

        Raises:
            UnknownModel: When no such model is served, or None is asked of several.
            NotReady: When nothing is loaded.
        """
        ...

    def all(self) -> Sequence[ServedModel]:
        """Give every served model, by name."""
        ...
