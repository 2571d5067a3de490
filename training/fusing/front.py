"""The points of a search that no other point beats in everything."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from contract.frozen import Frozen

__all__ = ["HasObjectives", "non_dominated", "thinned"]


class HasObjectives(Frozen):
    """Anything with a value an objective, more being better."""

    objectives: tuple[float, ...]


_Point = TypeVar("_Point", bound=HasObjectives)


def non_dominated(objectives: Sequence[tuple[float, ...]]) -> list[int]:
    """Name the points that none other equals or beats in every objective; of equal ones the first.

    They come by falling first objective. With one objective that is the first best point.
    """
    order = sorted(range(len(objectives)), key=lambda i: (*(-value for value in objectives[i]), i))
    front: list[int] = []
    best_second = -np.inf
    for i in order:
        first, *rest = objectives[i]
        second = rest[0] if rest else first
        if second > best_second and (rest or not front):
            front.append(i)
            best_second = second
    return front


def thinned(front: Sequence[_Point], most: int) -> list[_Point]:
    """Keep the ends of a front and points between them, about equally far apart in its own scale."""
    if len(front) <= most:
        return list(front)
    values = np.array([point.objectives for point in front])
    spread = np.ptp(values, axis=0)
    steps = np.linalg.norm(np.diff(values / np.where(spread > 0, spread, 1.0), axis=0), axis=1)
    along = np.r_[0.0, np.cumsum(steps)]
    wanted = np.linspace(0.0, along[-1], most)
    return [front[i] for i in sorted({int(np.argmin(np.abs(along - place))) for place in wanted})]
