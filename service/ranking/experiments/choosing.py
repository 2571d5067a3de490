"""What a request is ranked by, once its arms have had their say; an arm that cannot be served never fails it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from service.ports import Asked, Assignment, Exposure, Ranked, ShadowArm
from service.ranking.experiments.book import ExperimentBook
from service.ranking.experiments.documents import Arm
from service.ranking.experiments.drawing import Drawn, Target
from service.ranking.experiments.servable import Servable
from service.ranking.experiments.shadowing import ShadowScorer

__all__ = ["ArmChooser", "ExposureObserver"]


class ExposureObserver(Protocol):
    """Told who is in which arm."""

    def observe_exposure(self, exposure: Exposure, seconds: float) -> None:
        """Record one request of an arm, and how long ranking it took."""
        ...

    def observe_missing_unit(self, layer: str) -> None:
        """Record a request that names no unit for a layer."""
        ...


class _Choice(NamedTuple):
    profile: str
    model: str
    weights: Mapping[str, float]

    def with_arm(self, arm: Arm, before: Target) -> "_Choice | None":
        """Give the choice with an arm's changes; None where what it builds on is not what stands here.

        Documents that disagree are refused when they are written; two processes that write at the same moment can
        still make some, and then the layer that comes first counts.
        """
        builds_on_profile = arm.profile is not None or bool(arm.weights)
        if builds_on_profile and self.profile != before.profile:
            return None
        if (arm.profile and self.weights) or (arm.weights.keys() & self.weights.keys()):
            return None
        if arm.model is not None and self.model != before.model:
            return None
        return _Choice(
            profile=arm.profile or self.profile,
            model=arm.model or self.model,
            weights={**self.weights, **arm.weights},
        )


class ArmChooser:
    """Draws the arms of requests and holds them against what is served; see :class:`service.ports.Assigner`.

    Args:
        book: The experiments in force.
        servable: Knows what can be served.
        observer: Told who is in which arm.
        shadows: Scores shadow arms.
    """

    def __init__(
        self,
        *,
        book: ExperimentBook,
        servable: Servable,
        observer: ExposureObserver,
        shadows: ShadowScorer,
    ) -> None:
        self._book = book
        self._servable = servable
        self._observer = observer
        self._shadows = shadows

    def assign(self, query: Asked) -> Assignment:
        """See :class:`service.ports.Assigner`."""
        if self._book.is_empty:
            return Assignment(model=query.model, profile=query.profile, weights=query.weights)
        target = Target(query.profile, self._servable.model(query.model).manifest.name)
        drawn, missing = self._book.draw((query.units, query.request), target)
        for layer in missing:
            self._observer.observe_missing_unit(layer)
        choice, fallbacks = self._choose(drawn, query, _Choice(target.profile, target.model, {}))
        return Assignment(
            model=choice.model,
            profile=choice.profile,
            weights={**choice.weights, **query.weights} if choice.weights else query.weights,
            exposures=tuple([_exposure(each, fallbacks) for each in drawn]),
            shadows=tuple([_shadow(each, choice, query) for each in drawn if each.place.exposure.shadow]),
        )

    def ranked(self, assignment: Assignment, ranked: Ranked) -> None:
        """See :class:`service.ports.Assigner`."""
        for exposure in assignment.exposures:
            self._observer.observe_exposure(exposure, ranked.seconds)
        if assignment.shadows:
            self._shadows.offer(assignment.shadows, ranked)

    def _choose(self, drawn: Sequence[Drawn], query: Asked, asked: _Choice) -> tuple[_Choice, Mapping[str, str]]:
        """Give what all arms make of what was asked, and by layer why an arm has no say."""
        changing = [each for each in drawn if each.place.changes]
        choice: _Choice | None = asked
        for each in changing:
            choice = None if choice is None else choice.with_arm(_arm(each), each.before)
        if not changing or (choice is not None and not self._problem(choice, query, asked)):
            return choice or asked, {}
        return self._choose_one_by_one(changing, query, asked)

    def _choose_one_by_one(
        self, changing: Sequence[Drawn], query: Asked, asked: _Choice
    ) -> tuple[_Choice, Mapping[str, str]]:
        choice, fallbacks = asked, dict[str, str]()
        for each in changing:
            stands = each.parent not in fallbacks
            tried = choice.with_arm(_arm(each), each.before) if stands else None
            reason = "other_arm" if tried is None else self._problem(tried, query, asked)
            if tried is None or reason:
                fallbacks[each.place.exposure.layer] = reason
            else:
                choice = tried
        return choice, fallbacks

    def _problem(self, choice: _Choice, query: Asked, asked: _Choice) -> str:
        """Say why a choice cannot be served; "" where it can."""
        # The request's own weights are for the profile that it asked for, where the ranker checks and refuses them.
        also = {} if choice.profile == asked.profile else query.weights
        return self._servable.problem(
            profile=choice.profile, model=choice.model, instead_of=asked.model, weights=choice.weights, also=also
        )


def _arm(drawn: Drawn) -> Arm:
    arm = drawn.place.arm
    assert arm is not None  # noqa: S101 - asked only of places that change something
    return arm


def _exposure(drawn: Drawn, fallbacks: Mapping[str, str]) -> Exposure:
    exposure = drawn.place.exposure
    reason = fallbacks.get(exposure.layer) if fallbacks else None
    return replace(exposure, fallback=reason) if reason else exposure


def _shadow(drawn: Drawn, choice: _Choice, query: Asked) -> ShadowArm:
    arm = _arm(drawn)
    profile = arm.profile or drawn.before.profile
    others = choice.weights if profile == choice.profile else {}
    own = query.weights if profile == query.profile else {}
    return ShadowArm(exposure=drawn.place.exposure, profile=profile, weights={**others, **arm.weights, **own})
