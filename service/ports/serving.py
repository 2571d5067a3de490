"""What models need and give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from contract.arrays import FloatArray, GraphInputs, Predictions, SideArrays
from contract.encoding import Encoder
from contract.manifest import Manifest

__all__ = ["Clock", "Inference", "ItemRows", "ItemStore", "ModelCatalog", "ModelRuntime", "ServedModel"]


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
    """

    encoded: SideArrays
    numbers: Mapping[str, FloatArray]
    found: NDArray[Any]


class ItemStore(Protocol):
    """Item features by id."""

    async def fetch(self, item_ids: Sequence[str]) -> ItemRows:
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
