"""A request's arms in every layer: a hash and a search a layer, since every request waits for it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.ranking.experiments.hashing import unit_bytes
from service.ranking.experiments.placing import Place, PlacingLayer, is_arm, nested

__all__ = ["Drawn", "DrawnArms", "Target", "draw"]


class Target(NamedTuple):
    """What a request would be ranked by."""

    profile: str
    model: str


class Drawn(NamedTuple):
    """A request's place in one layer.

    Args:
        before: What the request would be ranked by without the arm; within another arm, by that one.
        parent: Layer of that other arm; None where there is none.
    """

    place: Place
    before: Target
    parent: str | None


class DrawnArms(NamedTuple):
    """A request's places in all layers.

    Args:
        missing: Layers that the request names no unit for.
    """

    drawn: list[Drawn]
    missing: list[str]


def draw(
    layers: Sequence[PlacingLayer], sources: Iterable[Mapping[str, Any]], target: Target, now: datetime
) -> DrawnArms:
    """Draw a request's arms; see :meth:`service.ranking.experiments.book.ExperimentBook.draw`.

    Args:
        layers: Each behind the one it is within.
    """
    units = _Units(sources)
    arms: dict[str, Drawn] = {}
    drawn, missing = [], []
    for layer in layers:
        before, within = target, layer.within
        parent = None if within is None else arms.get(within.layer)
        if within is not None:
            if parent is None or not is_arm(parent.place, within):
                continue
            before = _after(parent)
        unit = units[layer.unit]
        if unit is None:
            missing.append(layer.name)
            continue
        place = layer.place(unit, now)
        if place is not None and _is_about(place, before):
            if parent is not None:
                place = nested(place, parent.place.exposure.propensity)
            arms[layer.name] = found = Drawn(place, before, within.layer if within else None)
            drawn.append(found)
    return DrawnArms(drawn, missing)


class _Units(dict[str, bytes | None]):
    """The units of one request, each read once."""

    def __init__(self, sources: Iterable[Mapping[str, Any]]) -> None:
        super().__init__()
        self._sources = tuple(sources)

    def __missing__(self, field: str) -> bytes | None:
        value = next((source[field] for source in self._sources if field in source), None)
        self[field] = unit = unit_bytes(value)
        return unit


def _is_about(place: Place, target: Target) -> bool:
    if place.experiment is None:
        return True
    on = place.experiment.on
    return on.profile == target.profile and on.model in (None, target.model)


def _after(drawn: Drawn) -> Target:
    arm, before = drawn.place.arm, drawn.before
    if arm is None:
        return before
    return Target(arm.profile or before.profile, arm.model or before.model)
