"""Layers ready to place units: a hash, a search among ranges, and nothing that is made anew for a request."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from service.ports import Exposure
from service.ranking.experiments.allotment import AllottedLayer, Ranges
from service.ranking.experiments.documents import BUCKETS, HOLDOUT, Arm, Experiment, Within, count_of
from service.ranking.experiments.hashing import BucketHash

__all__ = ["Place", "PlacingLayer", "is_arm", "nested"]


class Place(NamedTuple):
    """Where a unit is in a layer.

    Args:
        experiment: None in the holdout, as is the arm.
        changes: Whether requests are ranked otherwise here.
    """

    exposure: Exposure
    experiment: Experiment | None = None
    arm: Arm | None = None
    changes: bool = False


@dataclass(frozen=True, kw_only=True)
class _Step:
    """From *at* on the first *count* buckets are in, in these places by arm."""

    at: datetime
    count: int
    places: Sequence[Place]


class _PlacingExperiment:
    def __init__(self, layer: str, salt: str, experiment: Experiment) -> None:
        self._arm_bucket = BucketHash(b"fulcrum arm", salt, layer, experiment.name)
        self._arm_ends = [end for _, end in experiment.cut()]
        self._closes_at = experiment.closes_at
        self._steps = list(reversed(_steps(layer, experiment)))

    def place(self, unit: bytes, offset: int, now: datetime) -> Place | None:
        """Give the arm of a unit in the experiment's bucket number *offset*; None where it is not in yet or no more."""
        if now >= self._closes_at:
            return None
        for step in self._steps:
            if step.at <= now:
                if offset >= step.count:
                    return None
                return step.places[bisect_right(self._arm_ends, self._arm_bucket(unit))]
        return None


class PlacingLayer:
    """One layer of a service.

    Args:
        name: Of the layer.
        allotted: What it says.
    """

    def __init__(self, name: str, allotted: AllottedLayer) -> None:
        layer, allotment = allotted.layer, allotted.allotment
        self.name = name
        self.unit = layer.unit
        self.within: Within | None = layer.within
        self._bucket = BucketHash(b"fulcrum layer", layer.salt, name)
        self._holdout = Place(
            Exposure(layer=name, experiment=HOLDOUT, arm=HOLDOUT, propensity=count_of(layer.holdout) / BUCKETS)
        )
        owners: list[tuple[Ranges, _PlacingExperiment | None]] = [(allotment.holdout, None)]
        for experiment in layer.experiments:
            placing = _PlacingExperiment(name, layer.salt, experiment)
            owners.append((allotment.experiments[experiment.name], placing))
        self._spans = sorted(_spans(owners), key=lambda span: span.start)
        self._starts = [span.start for span in self._spans]

    @property
    def is_idle(self) -> bool:
        """Whether no bucket belongs to anybody."""
        return not self._spans

    def bucket(self, unit: bytes) -> int:
        """Give a unit's bucket."""
        return self._bucket(unit)

    def place(self, unit: bytes, now: datetime) -> Place | None:
        """Give where a unit of the layer's domain is; None where it is in nothing."""
        bucket = self._bucket(unit)
        index = bisect_right(self._starts, bucket) - 1
        if index < 0 or bucket >= (span := self._spans[index]).end:
            return None
        if span.owner is None:
            return self._holdout
        return span.owner.place(unit, span.offset + bucket - span.start, now)


class _Span(NamedTuple):
    start: int
    end: int
    offset: int
    owner: _PlacingExperiment | None


def _spans(owners: Sequence[tuple[Ranges, _PlacingExperiment | None]]) -> Iterator[_Span]:
    for ranges, owner in owners:
        offset = 0
        for start, end in ranges:
            yield _Span(start, end, offset, owner)
            offset += end - start


def _steps(layer: str, experiment: Experiment) -> list[_Step]:
    """Give the shares of an experiment over time, with every place's propensity.

    That is: buckets that are in / buckets of the layer × buckets of the arm / buckets of all arms.
    """
    ends = [0, *(end for _, end in experiment.cut())]
    chances = [(end - start) / BUCKETS for start, end in pairwise(ends)]
    ramp = [(max(step.at, experiment.opens_at), step.share) for step in experiment.ramp]
    return [
        _Step(at=at, count=count_of(share), places=_places(layer, experiment, chances, count_of(share)))
        for at, share in ramp or [(experiment.opens_at, experiment.share)]
    ]


def _places(layer: str, experiment: Experiment, chances: Sequence[float], count: int) -> list[Place]:
    exposures = [
        Exposure(
            layer=layer,
            experiment=experiment.name,
            arm=arm.name,
            propensity=count / BUCKETS * chance,
            shadow=arm.shadow,
        )
        for arm, chance in zip(experiment.arms, chances, strict=True)
    ]
    return [
        Place(exposure, experiment, arm, changes=not (arm.shadow or arm.changes_nothing))
        for exposure, arm in zip(exposures, experiment.arms, strict=True)
    ]


def nested(place: Place, chance: float) -> Place:
    """Give a place within an arm that itself has a chance."""
    exposure = place.exposure
    return place._replace(exposure=replace(exposure, propensity=exposure.propensity * chance))


def is_arm(place: Place, within: Within) -> bool:
    """Tell whether a place is in an arm."""
    return (
        place.experiment is not None
        and place.arm is not None
        and place.experiment.name == within.experiment
        and place.arm.name == within.arm
    )
