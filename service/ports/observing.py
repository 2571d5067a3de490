"""Who is told of ranked requests."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from contract.arrays import FloatArray, Predictions
from service.ports.experiments import Assignment
from service.ports.serving import ServedModel

__all__ = ["RankedRequest", "RequestSampler", "StageObserver"]


class StageObserver(Protocol):
    """Receives how long the stages of a request took."""

    def observe_rank(
        self,
        *,
        model: str,
        profile: str,
        stages: Mapping[str, float],
        heads: Predictions,
        scores: FloatArray,
        non_finite: int,
        unknown_items: int,
    ) -> None:
        """Record one ranked request; stages in seconds."""
        ...


class RankedRequest(Protocol):
    """What a sampler reads of a request."""

    @property
    def item_ids(self) -> Sequence[str]:
        """The candidates."""
        ...

    @property
    def request(self) -> Mapping[str, Any]:
        """Request-side field values."""
        ...

    @property
    def candidates(self) -> Mapping[str, Sequence[Any]]:
        """Candidate-side columns that the request itself carries."""
        ...


class RequestSampler(Protocol):
    """Keeps some of the ranked requests, for previews. Called on the hot path: returns at once and never raises."""

    def offer(
        self,
        *,
        model: ServedModel,
        request: RankedRequest,
        by: Assignment,
        heads: Predictions,
        stored: Mapping[str, FloatArray],
    ) -> None:
        """Take or leave one request.

        Args:
            model: The version that scored it.
            request: As it was asked; nothing of it changes afterwards.
            by: What it is ranked by.
            heads: Head values ``[n]`` by name; the arrays never change.
            stored: Number fields ``[n]`` that the item table knows.
        """
        ...
