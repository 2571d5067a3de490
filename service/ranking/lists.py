"""Lists of candidates laid end to end: N candidates of R requests, without a loop over either."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray, IntArray

__all__ = ["Lists"]


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Where each request's candidates lie; no list is empty.

    Args:
        starts: Where each begins, int64 ``[R]``.
        lengths: Of each, int64 ``[R]``.
        owner: Which list each candidate is of, int64 ``[N]``.
    """

    starts: IntArray
    lengths: IntArray
    owner: IntArray

    @classmethod
    def of_lengths(cls, lengths: IntArray) -> "Lists":
        """Lay lists of these lengths end to end."""
        return cls(
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            owner=np.repeat(np.arange(len(lengths)), lengths),
        )

    @property
    def size(self) -> int:
        """Candidates of all lists together."""
        return len(self.owner)

    @property
    def offsets(self) -> IntArray:
        """Where each list begins, and the size at the end, int64 ``[R + 1]``."""
        return np.append(self.starts, self.size)

    def each(self, of_list: NDArray[Any]) -> NDArray[Any]:
        """Give every candidate its list's value, ``[R]`` to ``[N]``."""
        return np.repeat(of_list, self.lengths)

    def sums(self, values: NDArray[Any]) -> FloatArray:
        """Add up each list, ``[N]`` to float64 ``[R]``."""
        return np.asarray(np.add.reduceat(values, self.starts, dtype=np.float64))

    def lowest(self, values: FloatArray) -> FloatArray:
        """Give the least value of each list, ``[N]`` to ``[R]``."""
        return np.asarray(np.minimum.reduceat(values, self.starts))

    def highest(self, values: FloatArray) -> FloatArray:
        """Give the greatest value of each list, ``[N]`` to ``[R]``."""
        return np.asarray(np.maximum.reduceat(values, self.starts))
