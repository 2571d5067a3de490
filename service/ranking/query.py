"""What goes into the ranker and what comes out: plain values, no HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from contract.arrays import FloatArray, IntArray, Predictions
from contract.explanation import Explanation
from contract.manifest import Manifest
from service.ports import Exposure, InForce

__all__ = ["RankQuery", "RankResult", "Timings"]


@dataclass(frozen=True, kw_only=True)
class RankQuery:
    """One request to rank.

    Args:
        model: Name of the model; None means the only one that is served.
        profile: Name of the fusion profile.
        request: Request-side field values.
        units: Values that assign to experiments and are no fields.
        item_ids: The candidates, in the caller's order.
        candidates: Candidate-side columns that the request itself carries, each as long as *item_ids*.
        weights: Replacements for the profile's weights, for this request alone.
        top_k: How many results to give; None gives all.
        deadline: Point on the monotonic clock, in seconds; None never expires.
        with_heads: Whether the caller wants the heads.
        with_explanation: Whether the caller wants to know why.
        decode_s: Seconds that decoding the body took.
    """

    item_ids: Sequence[str]
    request: Mapping[str, Any]
    candidates: Mapping[str, Sequence[Any]]
    request_id: str = ""
    model: str | None = None
    profile: str = "default"
    units: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    top_k: int | None = None
    deadline: float | None = None
    with_heads: bool = False
    with_explanation: bool = False
    decode_s: float = 0.0


@dataclass(kw_only=True)
class Timings:
    """Seconds a stage, filled where the time passes and written out once."""

    stages: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """Seconds of all stages so far."""
        return sum(self.stages.values())


@dataclass(frozen=True, kw_only=True)
class RankResult:
    """The ranking.

    Args:
        in_force: The fusion that made the scores.
        order: Positions of the ranked candidates in the query's list, best first, int64 ``[k]``.
        scores: Fused scores ``[k]`` in that order, -inf where they were not finite.
        heads: Head values ``[N]`` in the query's order.
        unknown_items: Candidates that the item table does not know.
        exposures: Arms of experiments that the request is in.
        explanation: Of the first results; None where nobody asked or a learned fusion made the scores.
    """

    query: RankQuery
    manifest: Manifest
    model_version: int
    in_force: InForce
    order: IntArray
    scores: FloatArray
    heads: Predictions
    unknown_items: NDArray[Any]
    explanation: Explanation | None
    timings: Timings
    exposures: tuple[Exposure, ...] = ()
