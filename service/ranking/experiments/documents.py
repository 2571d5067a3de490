"""Layers, experiments and arms, as an operator writes them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, Strict, model_validator

from contract.frozen import Frozen

__all__ = ["BUCKETS", "CONTROL", "HOLDOUT", "Arm", "Experiment", "Layer", "On", "Step", "Within", "count_of"]

BUCKETS = 10_000
CONTROL = "control"
HOLDOUT = "holdout"
_SUM_TOLERANCE = 1e-6
_ALWAYS, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Share = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]


def count_of(share: float) -> int:
    """Give a share in buckets."""
    return round(share * BUCKETS)


class On(Frozen):
    """Which requests an experiment is about.

    Args:
        profile: That they ask for; within another arm, the one that this arm would have them ranked by.
        model: That they ask for; None takes all.
    """

    profile: Name = "default"
    model: Name | None = None


class Step(Frozen):
    """From *at* on, this share of the layer is in the experiment."""

    at: AwareDatetime
    share: Share


class Arm(Frozen):
    """One way to rank.

    Args:
        share: Of the experiment's units.
        profile: Fusion profile instead of the one asked for; None leaves it.
        weights: Values of weights of the profile; they give way to the request's own.
        model: Model instead of the one asked for; None leaves it.
        shadow: Whether it is only scored beside the answer, which stays as it would be without it.
    """

    name: Name
    share: Share
    profile: Name | None = None
    weights: dict[str, Number] = Field(default_factory=dict, max_length=100)
    model: Name | None = None
    shadow: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether its units are ranked as they would be without the experiment."""
        return self.profile is None and self.model is None and not self.weights

    @model_validator(mode="after")
    def _is_what_its_name_says(self) -> Self:
        if self.name == CONTROL and (self.shadow or not self.changes_nothing):
            msg = f"the arm {CONTROL!r} changes something; give such an arm another name"
            raise ValueError(msg)
        if self.shadow and self.changes_nothing:
            msg = f"the shadow arm {self.name!r} changes nothing, so there is nothing to compare"
            raise ValueError(msg)
        if self.shadow and self.model is not None:
            # The batcher knows no priority: a shadow's rows would stand in the line before live ones.
            msg = f"the shadow arm {self.name!r} names a model; a shadow fuses the heads of the model that answers"
            raise ValueError(msg)
        return self


class Experiment(Frozen):
    """Arms that are compared on some of a layer's units.

    Args:
        share: Of the layer that is set aside for it.
        starts_at: Before it nobody is in.
        ends_at: From it on nobody is in.
        ramp: How many of those set aside are in, from when on; none means all.
    """

    name: Name
    share: Share
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=20)
    on: On = On()
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None
    ramp: tuple[Step, ...] = Field(default=(), max_length=50)

    @property
    def opens_at(self) -> datetime:
        """The moment from which on somebody is in."""
        return max(self.starts_at or _ALWAYS, self.ramp[0].at if self.ramp else _ALWAYS)

    @property
    def closes_at(self) -> datetime:
        """The moment from which on nobody is."""
        return self.ends_at or _NEVER

    def cut(self) -> tuple[tuple[str, int], ...]:
        """Give each arm's name and the end of its own buckets, which start where the one before ends."""
        ends = accumulate(arm.share for arm in self.arms)
        return tuple((arm.name, count_of(end)) for arm, end in zip(self.arms, ends, strict=True))

    def arm(self, name: str) -> Arm | None:
        """Give an arm by name."""
        return next((arm for arm in self.arms if arm.name == name), None)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        problem = (
            _twice("arms", (arm.name for arm in self.arms)) or self._problem_of_shares() or self._problem_of_time()
        )
        if self.name == HOLDOUT:
            problem = f"{HOLDOUT!r} is what the units of no experiment are called; take another name"
        if self.on.model is None and any(arm.model for arm in self.arms):
            problem = f"an arm of {self.name!r} changes the model; say in 'on' which model's requests it may change"
        if problem:
            raise ValueError(problem)
        return self

    def _problem_of_shares(self) -> str:
        total = sum(arm.share for arm in self.arms)
        if abs(total - 1.0) > _SUM_TOLERANCE:
            return f"the shares of the arms of {self.name!r} sum to {total:g}, not to 1"
        ends = [0, *(end for _, end in self.cut())]
        for arm, (start, end) in zip(self.arms, pairwise(ends), strict=True):
            if start == end:
                return f"the share {arm.share:g} of the arm {arm.name!r} is too small; the least is {1 / BUCKETS:g}"
        if count_of(self.share) < 1:
            return f"the share {self.share:g} of {self.name!r} is too small; the least is {1 / BUCKETS:g}"
        return ""

    def _problem_of_time(self) -> str:
        if self.ends_at is not None and self.ends_at <= self.opens_at:
            return f"{self.name!r} ends before it starts"
        for first, second in pairwise(self.ramp):
            if second.at <= first.at or second.share < first.share:
                return f"the ramp of {self.name!r} has to rise with time"
        if self.ramp and self.ramp[-1].share > self.share:
            return f"the ramp of {self.name!r} rises to {self.ramp[-1].share:g}, beyond its share of {self.share:g}"
        return ""


class Within(Frozen):
    """The arm whose units are a layer's domain."""

    layer: Name
    experiment: Name
    arm: Name


class Layer(Frozen):
    """One independent split of all units, or of those in an arm of another layer.

    Args:
        unit: Name of the value that assigns: one of the request's ``units``, or else of its fields.
        salt: Stirs the split; another salt gives another one.
        holdout: Share that never enters an experiment of this layer.
        within: The layer's domain; None means everybody.
    """

    unit: str = Field(min_length=1, max_length=128)
    salt: str = Field(default="", max_length=128, pattern=r"^[^\x00]*$")
    holdout: Share = 0.0
    experiments: tuple[Experiment, ...] = Field(default=(), max_length=100)
    within: Within | None = None

    def experiment(self, name: str) -> Experiment | None:
        """Give an experiment by name."""
        return next((each for each in self.experiments if each.name == name), None)

    @model_validator(mode="after")
    def _fits_into_one(self) -> Self:
        if problem := _twice("experiments", (each.name for each in self.experiments)):
            raise ValueError(problem)
        shares = [self.holdout, *(each.share for each in self.experiments)]
        if sum(map(count_of, shares)) > BUCKETS:
            msg = f"holdout and experiments take {sum(shares):g} of the layer together, which is more than all of it"
            raise ValueError(msg)
        return self


def _twice(what: str, names: Iterable[str]) -> str:
    names = list(names)
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    return f"two {what} are named {twice[0]!r}" if twice else ""
