"""What a ranking is worth, stated: a formula over outcomes gives the gain of each impression."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.errors import FormulaError
from contract.formula import compile_formula
from contract.fusion_bundle import Utility
from training.errors import UtilityError
from training.fusing.log import ImpressionLog

__all__ = ["Gained", "gain"]


@dataclass(frozen=True, kw_only=True)
class Gained:
    """Impressions with a known gain.

    Args:
        gains: float64 ``[N]``, at least 0.
    """

    log: ImpressionLog
    gains: NDArray[np.float64]


def gain(utility: Utility, log: ImpressionLog) -> Gained:
    """Compute the gain of each impression; under ``mask``, without those whose gain is not known.

    Raises:
        UtilityError: When the formula reads anything but outcomes, a gain is negative or infinite, or no impression
            has any.
    """
    outcomes = log.named(log.document.outcomes)
    if utility.missing == "zero":
        outcomes = {name: np.where(np.isnan(column), 0.0, column) for name, column in outcomes.items()}
    try:
        formula = compile_formula(utility.formula, frozenset(outcomes))
    except FormulaError as error:
        raise UtilityError(f"the utility {utility.formula!r}: {error.detail}", fix=error.fix) from None
    gains = formula(outcomes, log.num_rows, log.offsets)
    known = ~np.isnan(gains)
    if utility.missing == "mask":
        log, gains = log.where(known), gains[known]
    _check(utility, gains)
    return Gained(log=log, gains=gains)


def _check(utility: Utility, gains: NDArray[np.float64]) -> None:
    bad = ~np.isfinite(gains)
    if bad.any():
        raise UtilityError(
            f"the utility {utility.formula!r} is {gains[np.argmax(bad)]} for {int(bad.sum())} impressions",
            fix="guard it with where, max or log1p, or leave such rows out with --missing mask",
        )
    if (gains < 0).any():
        raise UtilityError(
            f"the utility {utility.formula!r} is {gains.min():g} at its lowest, and a gain is 0 or more",
            fix="write max(…, 0), or add a constant",
        )
    if not gains.any():
        raise UtilityError(f"the utility {utility.formula!r} is 0 for every impression", fix="read another outcome")
