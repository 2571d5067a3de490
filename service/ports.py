"""The seams of the service: small Protocols, each with an adapter and a fake that pass one shared suite."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from contract.arrays import FloatArray, GraphInputs, IntArray, Predictions, SideArrays
from contract.encoding import Encoder
from contract.fusion import AnyProfile
from contract.manifest import Manifest

__all__ = [
    "Asked",
    "Assigner",
    "Assignment",
    "Clock",
    "Exposure",
    "FusionCompiler",
    "FusionSource",
    "InForce",
    "ItemRows",
    "ItemStore",
    "ModelCatalog",
    "ModelRuntime",
    "NoExperiments",
    "Ranked",
    "RankedRequest",
    "RequestSampler",
    "Scorer",
    "ServedModel",
    "ShadowArm",
    "StageObserver",
]


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

    async def predict(self, inputs: GraphInputs, *, deadline: float | None) -> "Inference":
        """Score one request's rows, batched with whatever else waits.

        Args:
            inputs: One request and its candidates.
            deadline: A point on the monotonic clock, in seconds; None never expires.

        Raises:
            Overloaded: When too many rows wait already.
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


class Scorer(Protocol):
    """Makes one score of the heads: a compiled formula (:class:`contract.fusion.Fusion`), or a learned model."""

    @property
    def profile(self) -> AnyProfile:
        """What it was made of."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Heads and number fields that it reads."""
        ...

    def check_weights(self, values: Mapping[str, float]) -> None:
        """Check replacements for weights, as one request may give them.

        Raises:
            FormulaError: When a name is unknown or a value is out of its bounds.
        """
        ...

    def score(
        self,
        values: Mapping[str, Any],
        size: int,
        *,
        weights: Mapping[str, float] | None = None,
        lists: IntArray | None = None,
    ) -> tuple[FloatArray, int]:
        """Score candidates; see :meth:`contract.fusion.Fusion.score`.

        Raises:
            ScoreError: When a score is not finite and the profile says to fail.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The fusion that a request is ranked by.

    Args:
        revision: Of the profile.
        variant: Which part of that revision: ``base``, ``temporary`` or ``schedule:<name>``.
    """

    profile: str
    revision: int
    variant: str
    fusion: Scorer


class FusionCompiler(Protocol):
    """Makes a profile ready to run on a model."""

    def __call__(self, profile: AnyProfile, model: ServedModel) -> Scorer:
        """Compile.

        Raises:
            FormulaError: When the profile does not fit the model.
        """
        ...


class FusionSource(Protocol):
    """What the ranker asks for the fusion in force."""

    def current(self, profile_name: str, model: ServedModel) -> InForce:
        """Give a snapshot of a profile, compiled for a model.

        Raises:
            UnknownProfile: When there is no such profile.
            ProfileMismatch: When it reads what the model does not have.
        """
        ...


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
    def profile(self) -> str:
        """Name of the fusion profile."""
        ...

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

    @property
    def weights(self) -> Mapping[str, float]:
        """Replacements for the profile's weights."""
        ...


class RequestSampler(Protocol):
    """Keeps some of the ranked requests, for previews. Called on the hot path: returns at once and never raises."""

    def offer(
        self, *, model: ServedModel, request: RankedRequest, heads: Predictions, stored: Mapping[str, FloatArray]
    ) -> None:
        """Take or leave one request.

        Args:
            model: The version that scored it.
            request: As it was asked; nothing of it changes afterwards.
            heads: Head values ``[n]`` by name; the arrays never change.
            stored: Number fields ``[n]`` that the item table knows.
        """
        ...


class Asked(Protocol):
    """What experiments read of a rank request."""

    @property
    def request(self) -> Mapping[str, Any]:
        """Give the request-side field values."""
        ...

    @property
    def units(self) -> Mapping[str, Any]:
        """Give the values that assign to experiments and are no fields."""
        ...

    @property
    def model(self) -> str | None:
        """Give the model that is asked for; None means the only one."""
        ...

    @property
    def profile(self) -> str:
        """Give the profile that is asked for."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """Give the request's own weights."""
        ...


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """An arm that a request is in.

    Args:
        propensity: Chance that a unit has of this arm, before anything is known of it.
        shadow: Whether the arm is scored beside the answer only.
        fallback: Why the arm was not served although the unit is in it; "" where it was.
    """

    layer: str
    experiment: str
    arm: str
    propensity: float
    shadow: bool = False
    fallback: str = ""


@dataclass(frozen=True, kw_only=True)
class ShadowArm:
    """What a shadow arm would rank by."""

    exposure: Exposure
    profile: str
    weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a request is ranked by once its arms have had their say.

    Args:
        weights: The arms' and, before them, the request's own.
    """

    model: str | None
    profile: str
    weights: Mapping[str, float]
    exposures: tuple[Exposure, ...] = ()
    shadows: tuple[ShadowArm, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A request that has been ranked, for those who look at it afterwards.

    Args:
        scores: Of all candidates, in the query's order ``[N]``.
        values: Gives what a fusion reads of this request.
        seconds: What ranking took.
    """

    model: ServedModel
    scores: FloatArray
    values: Callable[[Scorer], Mapping[str, Any]]
    seconds: float


class Assigner(Protocol):
    """Puts requests into arms of experiments."""

    def assign(self, query: Asked) -> Assignment:
        """Say what to rank a request by.

        Raises:
            UnknownModel: When no such model is served.
            NotReady: When nothing is loaded.
        """
        ...

    def ranked(self, assignment: Assignment, ranked: Ranked) -> None:
        """Hear what became of an assignment that has exposures; returns at once."""
        ...


class NoExperiments:
    """Ranks every request as it asks to be."""

    def assign(self, query: Asked) -> Assignment:
        """See :class:`Assigner`."""
        return Assignment(model=query.model, profile=query.profile, weights=query.weights)

    def ranked(self, assignment: Assignment, ranked: Ranked) -> None:
        """Nobody listens."""
