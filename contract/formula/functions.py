"""The functions and operators of the language, and what each does with float64 arrays and numbers.

Arithmetic follows IEEE 754: ``1 / 0`` is infinite, ``log(-1)`` is NaN. Comparisons give 1 or 0; any number other than
0, NaN included, holds as a condition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "OPERATORS", "Elementwise", "Function"]

Elementwise = Callable[..., Any]
_FLOAT = np.dtype(np.float64)


def _compared(apply: np.ufunc) -> Elementwise:
    # A float, not a bool: NumPy refuses to subtract or negate booleans.
    return lambda left, right: apply(left, right).astype(_FLOAT)


def _sigmoid(x: Any) -> Any:
    return np.true_divide(1.0, np.add(1.0, np.exp(np.negative(x))))


def _clip(x: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(x, low), high)


def _where(condition: Any, held: Any, failed: Any) -> Any:
    return np.where(np.not_equal(condition, 0.0), held, failed)


OPERATORS: dict[str, Elementwise] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "**": np.power,
    "<": _compared(np.less),
    "<=": _compared(np.less_equal),
    ">": _compared(np.greater),
    ">=": _compared(np.greater_equal),
    "==": _compared(np.equal),
    "!=": _compared(np.not_equal),
}


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function of the language.

    Args:
        apply: What it does; None for those that look over a request's candidates (:mod:`contract.formula.listwise`).
        is_chained: Whether *apply* takes two arguments, and more are taken in one after the other.
    """

    apply: Elementwise | None
    fewest: int = 1
    most: int = 1
    is_chained: bool = False

    @property
    def is_listwise(self) -> bool:
        """Whether a candidate's value depends on the other candidates of its request."""
        return self.apply is None

    def arity(self) -> str:
        """Say how many arguments it takes."""
        return f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"


FUNCTIONS: dict[str, Function] = {
    "log": Function(apply=np.log),
    "log1p": Function(apply=np.log1p),
    "exp": Function(apply=np.exp),
    "sqrt": Function(apply=np.sqrt),
    "abs": Function(apply=np.abs),
    "pow": Function(apply=np.power, fewest=2, most=2),
    "min": Function(apply=np.minimum, fewest=2, most=8, is_chained=True),
    "max": Function(apply=np.maximum, fewest=2, most=8, is_chained=True),
    "clip": Function(apply=_clip, fewest=3, most=3),
    "sigmoid": Function(apply=_sigmoid),
    "where": Function(apply=_where, fewest=3, most=3),
    "rank": Function(apply=None),
    "zscore": Function(apply=None),
    "minmax": Function(apply=None),
    "softmax": Function(apply=None),
}
