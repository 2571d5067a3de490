"""Listwise functions for one candidate that changes while its list is held as it was.

A candidate that changes its ``rank``, ``zscore``, ``minmax`` or ``softmax`` changes those of all others a little.
Here the list's mean, deviation, least, largest, sum and sorted values stay, and so do the others: the order of two
candidates by such a function comes out right, its size nearly. The rank of a value between two others is half-way
between theirs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from contract.formula.listwise import Values

__all__ = ["Held", "hold"]

Held = Callable[[Values], Any]
"""Takes new values of single candidates; gives what the function would give for each."""


def hold(name: str, everyone: Values) -> Held:
    """Fix a listwise function's statistics.

    Args:
        everyone: Its argument for each candidate of the request.
    """
    finite = np.sort(everyone[np.isfinite(everyone)])
    return _only_finite(_nowhere if len(finite) == 0 else _HOLDS[name](finite))


def _only_finite(of: Held) -> Held:
    return lambda new: np.where(np.isfinite(new), of(new), np.nan)


def _nowhere(new: Values) -> Any:
    """Stand in where there is no scale to move on."""
    return np.zeros_like(new)


def _rank(finite: Values) -> Held:
    if len(finite) == 1:
        return np.ones_like
    return lambda new: (
        (np.searchsorted(finite, new) + np.searchsorted(finite, new, "right") - 1) / 2 / (len(finite) - 1)
    )


def _zscore(finite: Values) -> Held:
    if finite[0] == finite[-1]:
        return _nowhere
    mean, spread = np.mean(finite), np.std(finite)
    return lambda new: (new - mean) / spread


def _minmax(finite: Values) -> Held:
    low, width = finite[0], finite[-1] - finite[0]
    return (lambda new: (new - low) / width) if width else _nowhere


def _softmax(finite: Values) -> Held:
    largest = finite[-1]
    total = np.sum(np.exp(finite - largest))
    return lambda new: np.exp(new - largest) / total


_HOLDS: dict[str, Callable[[Values], Held]] = {
    "rank": _rank,
    "zscore": _zscore,
    "minmax": _minmax,
    "softmax": _softmax,
}
