"""Intervals by the bootstrap over requests (Efron, 1979): what is drawn is a request, with every contender's value.

Differences are paired: both rankings are judged on the same drawn requests, so what is hard about a request cancels.
Requests of one user are not independent of each other; the intervals are narrower for it than by-user ones would be.
"""

import numpy as np
from numpy.typing import NDArray

from contract.frozen import Frozen

__all__ = ["DRAWS", "Interval", "paired_bootstrap"]

DRAWS = 2_000
_AT_ONCE = 4_000_000
_LOW, _HIGH = 0.025, 0.975


class Interval(Frozen):
    """A mean over requests and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of 0."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    values: NDArray[np.float64], reference: int, *, seed: int, draws: int = DRAWS
) -> tuple[list[Interval], list[Interval]]:
    """Give each contender's mean, and its difference from the reference, with percentile intervals.

    Args:
        values: ``[contenders, R]``; a request that is NaN for any contender is left out for all.
        reference: Row of *values*.
    """
    known = values[:, ~np.isnan(values).any(axis=0)]
    means = _drawn_means(known, draws, np.random.default_rng(seed))
    centre = known.mean(axis=1)
    own = [_interval(value, drawn) for value, drawn in zip(centre, means, strict=True)]
    apart = [
        _interval(value - centre[reference], drawn - means[reference])
        for value, drawn in zip(centre, means, strict=True)
    ]
    return own, apart


def _drawn_means(values: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Give the means of *draws* samples of requests, ``[contenders, draws]``; some samples at a time."""
    count = values.shape[1]
    at_once = max(1, _AT_ONCE // count)
    parts = []
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        drawn = rng.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        parts.append(values @ times.T / count)
    return np.concatenate(parts, axis=1)


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, (_LOW, _HIGH))
    return Interval(value=float(value), low=float(low), high=float(high))
