"""Formulas over all requests of a log at once."""

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.formula import Formula
from contract.fusion import Fusion, FusionProfile, compile_fusion
from training.fusing.log import ImpressionLog

__all__ = ["FormulaScorer", "run_formula"]

_LISTWISE = frozenset({"rank", "zscore", "minmax", "softmax"})


def run_formula(formula: Formula, values: Mapping[str, Any], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Run a formula over rows ``[N]``: in one pass, or a request at a time where it looks at a request's candidates.

    Args:
        offsets: int64 ``[R + 1]``, as of :class:`ImpressionLog`.
    """
    if not _is_listwise(formula.text):
        return formula(values, int(offsets[-1]))
    parts = [
        formula({name: _part(value, start, stop) for name, value in values.items()}, stop - start)
        for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    return np.concatenate(parts)


def _is_listwise(text: str) -> bool:
    names = {node.id for node in ast.walk(ast.parse(text.strip(), mode="eval")) if isinstance(node, ast.Name)}
    return bool(names & _LISTWISE)


def _part(value: Any, start: int, stop: int) -> Any:
    return value[start:stop] if np.ndim(value) else value


class FormulaScorer:
    """A profile over one log; its weights may be replaced call by call.

    Args:
        profile: A formula; a score that is not finite ranks last here, whatever its policy.
        log: Gives heads and fields.
    """

    def __init__(self, profile: FusionProfile, log: ImpressionLog) -> None:
        self.fusion: Fusion = compile_fusion(profile, log.document.variables())
        self._values = {name: log.columns[name] for name in self.fusion.reads}
        self._offsets = log.offsets

    def __call__(self, weights: Mapping[str, float] | None = None) -> NDArray[np.float64]:
        """Score every row, ``[N]``."""
        values = {**self._values, **self.fusion.weights, **(weights or {})}
        scores = run_formula(self.fusion.formula, values, self._offsets)
        return np.where(np.isfinite(scores), scores, -np.inf)
