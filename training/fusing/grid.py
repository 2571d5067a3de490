"""Between which values, and on which of them, a weight is searched."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from contract.fusion import FusionProfile
from contract.weights import Weight
from training.errors import SearchError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Grid", "with_bounds"]

_TOLERANCE = 1e-6  # of a step


def with_bounds(profile: FusionProfile, bounds: Mapping[str, tuple[float, float]]) -> FusionProfile:
    """Give weights their bounds to search between; those that the profile states itself may only be narrowed.

    Raises:
        SearchError: When there is no such weight, the profile's own bounds are narrower, or a weight has none.
    """
    if not profile.weights:
        raise SearchError("the formula has no weights to search", fix="name some, such as `w1*ctr + w2*log_duration`")
    if strange := bounds.keys() - profile.weights.keys():
        raise SearchError(f"there is no weight {min(strange)!r}", fix=f"its weights are: {', '.join(profile.weights)}")
    weights = {name: _bounded(name, weight, bounds.get(name)) for name, weight in profile.weights.items()}
    return profile.model_copy(update={"weights": weights})


def _bounded(name: str, weight: Weight, asked: tuple[float, float] | None) -> Weight:
    low, high = asked or (weight.min, weight.max)
    if low is None or high is None:
        raise SearchError(
            f"the weight {name!r} has no bounds to search between",
            fix=f'write {{"value": {weight.value:g}, "min": 0, "max": …}} in the profile, or --bounds {name}=LOW:HIGH',
        )
    outside = (weight.min is not None and low < weight.min) or (weight.max is not None and high > weight.max)
    if outside or not low < high:
        raise SearchError(f"{name!r} cannot be searched from {low:g} to {high:g}", fix="stay within its own bounds")
    if weight.step is not None:  # the service counts steps from the profile's own start, wherever the search begins
        start = weight.min or 0.0
        low = start + weight.step * math.ceil((low - start) / weight.step - _TOLERANCE)
    return weight.model_copy(update={"min": low, "max": high})


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values of one weight: all between two bounds, or those on its steps.

    Steps are drawn as whole numbers: counted in floating point they would miss the profile's own.
    """

    low: float
    high: float
    step: float | None

    @classmethod
    def of(cls, weight: Weight) -> Self:
        """Take a weight with bounds; see :func:`with_bounds`."""
        return cls(low=weight.min or 0.0, high=weight.max or 0.0, step=weight.step)

    def distribution(self) -> "BaseDistribution":
        """Give what Optuna draws from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.step is None:
            return FloatDistribution(self.low, self.high)
        return IntDistribution(0, math.floor((self.high - self.low) / self.step + _TOLERANCE))

    def weight(self, drawn: float) -> float:
        """Give the weight of what was drawn."""
        return float(drawn) if self.step is None else self.low + self.step * round(drawn)

    def drawn(self, weight: float) -> float:
        """Give what would have to be drawn for a weight."""
        return weight if self.step is None else round((weight - self.low) / self.step)

    def holds(self, weight: float) -> bool:
        """Tell whether a weight can be drawn."""
        return self.low <= weight <= self.high and abs(self.weight(self.drawn(weight)) - weight) <= _TOLERANCE
