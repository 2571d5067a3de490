"""Numbers over seeds, and when two of them differ."""

import math
from collections.abc import Iterable
from typing import Literal, Self

import numpy as np

from contract.frozen import Frozen

__all__ = ["Difference", "Spread", "Verdict", "difference"]

Verdict = Literal["gain", "loss", "no difference"]


class Spread(Frozen):
    """A number over seeds.

    Args:
        std: Sample standard deviation; 0 of a single seed, which says nothing of noise.
        seeds: How many there were.
    """

    mean: float
    std: float
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Summarise the values of all seeds, one at least."""
        sample = np.asarray(list(values), dtype=np.float64)
        std = float(sample.std(ddof=1)) if len(sample) > 1 else 0.0
        return cls(mean=float(sample.mean()), std=std, seeds=len(sample))

    @property
    def standard_error(self) -> float:
        """Of the mean; infinite for a single seed: one run cannot tell a difference from noise."""
        return self.std / math.sqrt(self.seeds) if self.seeds > 1 else math.inf


class Difference(Frozen):
    """How far one number is ahead of another.

    Args:
        value: Above 0 is better, whichever way the number itself points.
        standard_error: Of *value*, from both sides' seeds; None where a side has one seed.
        verdict: "no difference" within one standard error.
    """

    value: float
    standard_error: float | None
    verdict: Verdict


def difference(ours: Spread, theirs: Spread, *, higher_is_better: bool) -> Difference:
    """Compare two numbers over seeds that have nothing to do with each other."""
    value = (ours.mean - theirs.mean) * (1.0 if higher_is_better else -1.0)
    error = math.hypot(ours.standard_error, theirs.standard_error)
    if abs(value) <= error or value == 0:
        verdict: Verdict = "no difference"
    else:
        verdict = "gain" if value > 0 else "loss"
    return Difference(value=value, standard_error=error if math.isfinite(error) else None, verdict=verdict)
