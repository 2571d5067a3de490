"""Fusion: many heads to one score. A profile is data; a :class:`Fusion` is a profile ready to run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag

from contract.errors import FormulaError, ScoreError
from contract.formula import FUNCTIONS, Formula, compile_formula
from contract.formula.listwise import all_finite
from contract.frozen import Frozen
from contract.weights import Weights, changed_weights

__all__ = [
    "DEFAULT_FORMULA",
    "AnyProfile",
    "Fusion",
    "FusionProfile",
    "LearnedProfile",
    "NonFinite",
    "compile_fusion",
    "settle_non_finite",
]

NonFinite = Literal["bottom", "fail"]

DEFAULT_FORMULA = "ctr * log1p(duration_seconds)"


class FusionProfile(Frozen):
    """How heads become a score, as an operator writes it.

    Args:
        formula: Expression over heads, number fields and the names in *weights*.
        weights: Named numbers that the formula reads.
        non_finite: What a NaN or infinite score does: ``bottom`` ranks the candidate last, ``fail`` refuses
            the request.
    """

    kind: Literal["formula"] = "formula"
    formula: str = Field(min_length=1)
    weights: Weights = Field(default_factory=dict)
    non_finite: NonFinite = "bottom"

    def weight_values(self) -> dict[str, float]:
        """Give the weights as plain numbers."""
        return {name: weight.value for name, weight in self.weights.items()}


class LearnedProfile(Frozen):
    """A model that was trained to make one score of the heads; see ``fulcrum fuse fit``.

    Args:
        model: Name of a fusion bundle.
        version: Of that bundle.
        non_finite: As for a formula.
    """

    kind: Literal["model"] = "model"
    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    version: int = Field(ge=1)
    non_finite: NonFinite = "bottom"


def _kind(given: Any) -> str:
    kind = given.get("kind", "formula") if isinstance(given, Mapping) else getattr(given, "kind", "formula")
    return str(kind)


AnyProfile = Annotated[
    Annotated[FusionProfile, Tag("formula")] | Annotated[LearnedProfile, Tag("model")], Discriminator(_kind)
]
"""A profile of either kind; a document that names none is a formula."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """A compiled profile.

    Args:
        profile: What it was compiled from.
        weights: Of the profile, as plain numbers.
        reads: Variables of the formula that are not weights: heads and number fields.
    """

    profile: FusionProfile
    weights: Mapping[str, float]
    formula: Formula
    reads: frozenset[str]

    def check_weights(self, values: Mapping[str, float]) -> None:
        """Check replacements for weights, as one request may give them.

        Raises:
            FormulaError: When a name is unknown or a value is out of its bounds.
        """
        changed_weights(self.profile.weights, values)

    def score(
        self,
        values: Mapping[str, Any],
        size: int,
        *,
        weights: Mapping[str, float] | None = None,
        lists: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float64], int]:
        """Score the candidates of one request, or of several laid end to end.

        Args:
            values: Every name of :attr:`reads`, an array ``[size]`` or one number.
            size: Number of candidates, of all requests together.
            weights: Replaces the profile's weights for this call, name by name.
            lists: Int64 ``[R + 1]``: where each request's candidates begin, and *size*; None for one request.

        Returns:
            Scores ``[size]``, with -inf for non-finite ones, and how many of those there were.

        Raises:
            ScoreError: When a score is not finite and the profile says to fail.
        """
        merged = {**values, **self.weights, **weights} if weights else {**values, **self.weights}
        scores = self.formula.__call__(merged, size, lists)  # spares the detour of a call operator
        return settle_non_finite(scores, self.profile.non_finite, by=repr(self.formula.text))


def settle_non_finite(scores: NDArray[np.float64], policy: NonFinite, *, by: str) -> tuple[NDArray[np.float64], int]:
    """Give scores with -inf in place of what is not finite, changed where they stand, and how many of those there were.

    Args:
        by: What made them, for the message.

    Raises:
        ScoreError: When there are any and the policy is to fail.
    """
    if all_finite(scores):
        return scores, 0
    bad = ~np.isfinite(scores)
    count = int(np.count_nonzero(bad))
    if count and policy == "fail":
        row = int(np.argmax(bad))
        raise ScoreError(
            f"the score of candidate {row} is {scores[row]} under {by}",
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
    reads = formula.variables - profile.weights.keys()
    if not reads:
        raise FormulaError(
            "the formula reads weights alone, so every candidate scores the same",
            fix=f"read a head or a field, for example `{DEFAULT_FORMULA}`",
            path="/formula",
        )
    unread = profile.weights.keys() - formula.variables
    if unread:
        name = min(unread)
        raise FormulaError(
            f"the weight {name!r} is not read by the formula",
            fix="use it or leave it out",
            path=f"/weights/{name}",
        )
    return Fusion(
        profile=profile,
        weights=profile.weight_values(),
        formula=formula,
        reads=reads,
    )
