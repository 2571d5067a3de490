"""Fusion: many heads to one score. A profile is data; a :class:`Fusion` is a profile ready to run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from contract.errors import FormulaError, ScoreError
from contract.formula import FUNCTIONS, Formula, compile_formula
from contract.frozen import Frozen

__all__ = ["DEFAULT_FORMULA", "Fusion", "FusionProfile", "compile_fusion"]

DEFAULT_FORMULA = "ctr * log1p(duration_seconds)"


class FusionProfile(Frozen):
    """How heads become a score, as an operator writes it.

    Args:
        formula: Expression over heads, number fields and the names in *weights*.
        weights: Named numbers that the formula reads.
        non_finite: What a NaN or infinite score does: ``bottom`` ranks the candidate last, ``fail`` refuses
            the request.
    """

    formula: str = Field(min_length=1)
    weights: dict[str, float] = Field(default_factory=dict)
    non_finite: Literal["bottom", "fail"] = "bottom"

    @field_validator("weights")
    @classmethod
    def _finite(cls, weights: dict[str, float]) -> dict[str, float]:
        bad = [name for name, weight in weights.items() if not math.isfinite(weight)]
        if bad:
            msg = f"weights must be finite: {', '.join(bad)}"
            raise ValueError(msg)
        return weights


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """A compiled profile.

    Args:
        profile: What it was compiled from.
        reads: Variables of the formula that are not weights: heads and number fields.
    """

    profile: FusionProfile
    formula: Formula
    reads: frozenset[str]

    def score(
        self, values: Mapping[str, Any], size: int, *, weights: Mapping[str, float] | None = None
    ) -> tuple[NDArray[np.float64], int]:
        """Score the candidates of one request.

        Args:
            values: Every name of :attr:`reads`, an array ``[size]`` or one number.
            size: Number of candidates.
            weights: Replaces the profile's weights for this request, name by name.

        Returns:
            Scores ``[size]``, with -inf for non-finite ones, and how many of those there were.

        Raises:
            ScoreError: When a score is not finite and the profile says to fail.
        """
        merged = {**values, **self.profile.weights, **(weights or {})}
        scores = self.formula(merged, size)
        bad = ~np.isfinite(scores)
        count = int(np.count_nonzero(bad))
        if count and self.profile.non_finite == "fail":
            row = int(np.argmax(bad))
            raise ScoreError(
                f"the score of candidate {row} is {scores[row]} under {self.formula.text!r}",
                fix="guard the formula (log1p, clip, max) or set the profile's non_finite to 'bottom'",
            )
        scores[bad] = -np.inf
        return scores, count


def compile_fusion(profile: FusionProfile, variables: Mapping[str, str]) -> Fusion:
    """Compile a profile against the heads and fields of a model.

    Raises:
        FormulaError: When a name is unknown, a weight hides another name or is never read, or the formula
            does not compile.
    """
    hidden = profile.weights.keys() & (variables.keys() | FUNCTIONS.keys())
    if hidden:
        name = min(hidden)
        raise FormulaError(
            f"the weight {name!r} has the name of {variables.get(name, 'a function')}",
            fix="give the weight another name, for example with a w_ before it",
            path=f"/weights/{name}",
        )
    formula = compile_formula(profile.formula, frozenset(variables) | profile.weights.keys())
    unread = profile.weights.keys() - formula.variables
    if unread:
        name = min(unread)
        raise FormulaError(
            f"the weight {name!r} is not read by the formula",
            fix="use it or leave it out",
            path=f"/weights/{name}",
        )
    return Fusion(profile=profile, formula=formula, reads=formula.variables - profile.weights.keys())
