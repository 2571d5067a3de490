"""How requests come into arms of experiments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from contract.arrays import FloatArray
from service.ports.fusion import Scorer
from service.ports.serving import ServedModel

__all__ = ["Asked", "Assigner", "Assignment", "Exposure", "NoExperiments", "Ranked", "ShadowArm"]


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
