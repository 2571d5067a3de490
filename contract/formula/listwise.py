"""Functions over the candidates of one request: ``rank zscore minmax softmax``.

They see the candidates whose value is finite; the others get NaN and disturb nobody. Candidates of several requests
may lie end to end: every function works within each request, without a loop over them, and gives the same bits as
it would for that request alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.formula.quiet import quiet

__all__ = ["LISTWISE", "Lists", "Values", "all_finite", "over_lists"]

Values = NDArray[np.float64]
_DOT_LIMIT = 8_192  # from about 10,000 numbers on, BLAS spreads a dot product over threads


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Lists laid end to end, none of them empty.

    Args:
        starts: Where each begins, int64 ``[L]``.
        lengths: Of each, int64 ``[L]``.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.int64]) -> "Lists":
        """Lay lists of these lengths end to end; those of length 0 are left out."""
        kept = lengths[lengths > 0]
        return cls(starts=np.cumsum(kept) - kept, lengths=kept)

    def each(self, of_list: NDArray[Any]) -> NDArray[Any]:
        """Give every candidate its list's value; for one list, a value that broadcasts."""
        return of_list if len(self.lengths) == 1 else np.repeat(of_list, self.lengths)

    def over(self, reduction: np.ufunc, x: Values) -> Values:
        """Reduce each list to one number ``[L]``."""
        return np.asarray(reduction.reduceat(x, self.starts))

    def order(self, x: Values) -> NDArray[np.int64]:
        """Give the positions that sort each list within its own place."""
        if len(self.lengths) == 1:
            return np.argsort(x)
        return np.lexsort((x, np.repeat(np.arange(len(self.lengths)), self.lengths)))


def _rank(x: Values, lists: Lists) -> Values:
    """Share of its list that x beats; ties get their mean; 1 is the best of a list, and of a list of one."""
    order = lists.order(x)
    ascending = x[order]
    begins_group = np.empty(len(x), dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=begins_group[1:])
    begins_group[lists.starts] = True
    starts = np.flatnonzero(begins_group)
    sizes = np.diff(starts, append=len(x))
    beaten = np.repeat(starts + (sizes - 1) / 2, sizes) - lists.each(lists.starts)
    out = np.empty(len(x))
    out[order] = beaten / np.maximum(lists.each(lists.lengths) - 1, 1)
    if np.any(alone := lists.lengths == 1):
        out[lists.starts[alone]] = 1.0
    return out


def _zscore(x: Values, lists: Lists) -> Values:
    mean = lists.over(np.add, x) / lists.lengths
    centred = x - lists.each(mean)
    spread = np.sqrt(lists.over(np.add, centred * centred) / lists.lengths)
    # Rounding gives equal values a standard deviation above 0.
    is_constant = lists.over(np.minimum, x) == lists.over(np.maximum, x)
    return np.where(lists.each(is_constant), 0.0, centred / lists.each(spread))


def _minmax(x: Values, lists: Lists) -> Values:
    low, high = lists.over(np.minimum, x), lists.over(np.maximum, x)
    scaled = (x - lists.each(low)) / lists.each(high - low)
    return np.where(lists.each(low == high), 0.0, scaled)


def _softmax(x: Values, lists: Lists) -> Values:
    weights = np.exp(x - lists.each(lists.over(np.maximum, x)))
    return np.asarray(weights / lists.each(lists.over(np.add, weights)))


LISTWISE: dict[str, Callable[[Values, Lists], Values]] = {
    "rank": _rank,
    "zscore": _zscore,
    "minmax": _minmax,
    "softmax": _softmax,
}


def over_lists(name: str, value: Any, size: int, offsets: NDArray[np.int64] | None) -> Values:
    """Apply a listwise function.

    Args:
        value: Float64 ``[size]``, or one number for every candidate.
        offsets: Int64 ``[R + 1]``, where each request's candidates begin, and *size*; None where all are of one.
    """
    x = np.broadcast_to(np.asarray(value, dtype=np.float64), (size,))
    lengths = np.array([size]) if offsets is None else np.diff(offsets)
    if all_finite(x):
        lists = Lists.of_lengths(lengths)
        return LISTWISE[name](x, lists) if size else np.empty(0)
    finite = np.isfinite(x)
    out = np.full(size, np.nan)
    lists = Lists.of_lengths(_kept_of_each(finite, lengths))
    if len(lists.lengths):
        out[finite] = LISTWISE[name](x[finite], lists)
    return out


def _kept_of_each(kept: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    running = np.concatenate(([0], np.cumsum(kept)))
    ends = np.cumsum(lengths)
    return np.asarray(running[ends] - running[ends - lengths])


def all_finite(x: Values) -> bool:
    """Tell whether there is neither NaN nor an infinity; several times faster than asking each number."""
    if len(x) <= _DOT_LIMIT and isfinite(quiet().run(x.dot, x)):
        return True  # squares are never below 0, so nothing in the sum cancels a NaN or an infinity
    return bool(np.isfinite(x).all())
