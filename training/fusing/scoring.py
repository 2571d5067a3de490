"""Formulas over all requests of a log at once."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contract.fusion import Fusion, FusionProfile, compile_fusion
from training.fusing.log import ImpressionLog

__all__ = ["FormulaScorer"]


class FormulaScorer:
    """A profile over one log; its weights may be replaced call by call.

    Args:
        profile: A formula; a score that is not finite ranks last here, whatever its policy.
        log: Gives heads and fields.
    """

    def __init__(self, profile: FusionProfile, log: ImpressionLog) -> None:
        bottom = profile.model_copy(update={"non_finite": "bottom"})
        self.fusion: Fusion = compile_fusion(bottom, log.document.variables())
        self._values = {name: log.columns[name] for name in self.fusion.reads}
        self._lists = log.offsets

    def __call__(self, weights: Mapping[str, float] | None = None) -> NDArray[np.float64]:
        """Score every row, ``[N]``."""
        scores, _ = self.fusion.score(self._values, int(self._lists[-1]), weights=weights, lists=self._lists)
        return scores
