"""Named weights of a fusion: a number, and how far an operator may turn it."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from contract.errors import FormulaError
from contract.frozen import Frozen

__all__ = ["Weight", "Weights", "changed_weights"]

_GRID_TOLERANCE = 1e-6  # of a step: 0.1 + 0.2 is on a grid of 0.1


class Weight(Frozen):
    """A number that a formula reads by name.

    Args:
        min: Smallest allowed value; None sets no bound.
        max: Largest allowed value; None sets no bound.
        step: Distance of the allowed values, counted from *min*, or from 0 where there is no *min*; None allows all.
    """

    value: float = Field(strict=True, allow_inf_nan=False)
    min: float | None = Field(default=None, strict=True, allow_inf_nan=False)
    max: float | None = Field(default=None, strict=True, allow_inf_nan=False)
    step: float | None = Field(default=None, strict=True, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _within_its_own_bounds(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            msg = f"min {self.min:g} is above max {self.max:g}"
            raise ValueError(msg)
        if problem := self.problem_with(self.value):
            raise ValueError(problem)
        return self

    @property
    def is_plain(self) -> bool:
        """Whether it has no bounds and no step."""
        return self.min is None and self.max is None and self.step is None

    def problem_with(self, value: float) -> str:
        """Say why *value* is not allowed; "" where it is."""
        if not math.isfinite(value):
            return f"{value} is not a finite number"
        if self.min is not None and value < self.min:
            return f"{value:g} is below min {self.min:g}"
        if self.max is not None and value > self.max:
            return f"{value:g} is above max {self.max:g}"
        return self._off_grid(value)

    def _off_grid(self, value: float) -> str:
        if self.step is None:
            return ""
        start = self.min or 0.0
        steps = (value - start) / self.step
        if abs(steps - round(steps)) <= _GRID_TOLERANCE * max(1.0, abs(steps)):
            return ""
        below, above = (start + number * self.step for number in (math.floor(steps), math.ceil(steps)))
        return f"{value:g} is between the steps {below:g} and {above:g}"


def _from_number(given: Any) -> Any:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return {"value": given} if is_number else given


def _to_number(weight: Weight) -> Any:
    return weight.value if weight.is_plain else weight.model_dump(exclude_none=True)


def _plain_names(weights: dict[str, Weight]) -> dict[str, Weight]:
    bad = [name for name in weights if not name.isidentifier()]
    if bad:
        msg = f"{min(bad)!r} cannot be the name of a weight"
        raise ValueError(msg)
    return weights


Weights = Annotated[
    dict[str, Annotated[Weight, BeforeValidator(_from_number), PlainSerializer(_to_number)]],
    AfterValidator(_plain_names),
]
"""By name; a document gives a weight without bounds as its number alone."""


def changed_weights(weights: Mapping[str, Weight], values: Mapping[str, float]) -> dict[str, Weight]:
    """Give the weights with new values, each within its own bounds; those not named stay.

    Raises:
        FormulaError: When a name is unknown or a value is not allowed.
    """
    for name, value in values.items():
        if name not in weights:
            known = ", ".join(sorted(weights)) or "none"
            raise FormulaError(f"there is no weight {name!r}", fix=f"its weights are: {known}", path=f"/weights/{name}")
        if problem := weights[name].problem_with(value):
            raise FormulaError(
                f"the weight {name!r}: {problem}",
                fix="stay within its bounds, or write the profile with others",
                path=f"/weights/{name}",
            )
    return {
        name: weight.model_copy(update={"value": values[name]}) if name in values else weight
        for name, weight in weights.items()
    }
