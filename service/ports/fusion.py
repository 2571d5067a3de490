"""What makes one score of the heads, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from contract.arrays import FloatArray, IntArray
from contract.fusion import AnyProfile
from service.ports.serving import ServedModel

__all__ = ["FusionCompiler", "FusionSource", "InForce", "Scorer"]


class Scorer(Protocol):
    """Makes one score of the heads: a compiled formula (:class:`contract.fusion.Fusion`), or a learned model."""

    @property
    def profile(self) -> AnyProfile:
        """What it was made of."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Heads and number fields that it reads."""
        ...

    def check_weights(self, values: Mapping[str, float]) -> None:
        """Check replacements for weights, as one request may give them.

        Raises:
            FormulaError: When a name is unknown or a value is out of its bounds.
        """
        ...

    def score(
        self,
        values: Mapping[str, Any],
        size: int,
        *,
        weights: Mapping[str, float] | None = None,
        lists: IntArray | None = None,
    ) -> tuple[FloatArray, int]:
        """Score candidates; see :meth:`contract.fusion.Fusion.score`.

        Raises:
            ScoreError: When a score is not finite and the profile says to fail.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The fusion that a request is ranked by.

    Args:
        revision: Of the profile.
        variant: Which part of that revision: ``base``, ``temporary`` or ``schedule:<name>``.
    """

    profile: str
    revision: int
    variant: str
    fusion: Scorer


class FusionCompiler(Protocol):
    """Makes a profile ready to run on a model."""

    def __call__(self, profile: AnyProfile, model: ServedModel) -> Scorer:
        """Compile.

        Raises:
            FormulaError: When the profile does not fit the model.
        """
        ...


class FusionSource(Protocol):
    """What the ranker asks for the fusion in force."""

    def current(self, profile_name: str, model: ServedModel) -> InForce:
        """Give a snapshot of a profile, compiled for a model.

        Raises:
            UnknownProfile: When there is no such profile.
            ProfileMismatch: When it reads what the model does not have.
        """
        ...
