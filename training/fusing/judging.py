"""How good a ranking is, request by request, all requests at once."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contract.frozen import Frozen

__all__ = ["Measure", "Yardstick", "ndcg_by_request", "places", "total_in_top"]

Floats = NDArray[np.float64]
Measure = Literal["ndcg", "total"]


class Yardstick(Frozen):
    """What a ranking is judged by.

    Args:
        measure: ``ndcg`` is NDCG@k by the utility: every request counts the same, however much it has to gain.
            ``total`` is the utility of the k best, summed: a request counts as much as it has to gain.
    """

    measure: Measure = "ndcg"
    k: int = Field(default=10, ge=1)

    def by_request(self, gains: Floats, place: NDArray[np.int64], offsets: NDArray[np.int64]) -> Floats:
        """Judge each request, ``[R]``; NaN where NDCG says nothing."""
        judge = ndcg_by_request if self.measure == "ndcg" else total_in_top
        return judge(gains, place, offsets, self.k)

    def mean(self, scores: Floats, gains: Floats, offsets: NDArray[np.int64]) -> float:
        """Judge scores ``[N]``, the mean over the requests that say something."""
        return float(np.nanmean(self.by_request(gains, places(scores, offsets), offsets)))

    def request_weights(self, gains: Floats, offsets: NDArray[np.int64]) -> Floats:
        """Say how much each request counts in training, ``[R]``, 1 in the mean."""
        totals = np.add.reduceat(gains, offsets[:-1])
        if self.measure == "ndcg" or not totals.any():
            return np.ones(len(totals))
        return np.asarray(totals / totals.mean())

    def told(self, formula: str) -> str:
        """Name the measure of a utility."""
        return f"NDCG@{self.k}, {formula}" if self.measure == "ndcg" else f"{formula}, top {self.k} of a request"


def places(scores: Floats, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each row's place in its request, 0 for the best; equal scores keep the given order, as in the service.

    Args:
        scores: ``[N]``; one that is not finite ranks last.
        offsets: int64 ``[R + 1]``; no request is empty.
    """
    lists = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-np.where(np.isfinite(scores), scores, -np.inf), lists))
    out = np.empty(len(scores), dtype=np.int64)
    out[order] = np.arange(len(scores)) - offsets[lists]
    return out


def ndcg_by_request(gains: Floats, place: NDArray[np.int64], offsets: NDArray[np.int64], k: int) -> Floats:
    """Give NDCG@k of each request, ``[R]``, NaN where no candidate has a gain.

    The gain of a candidate is its utility, its discount ``1 / log2(place + 2)``
    (Järvelin & Kekäläinen, TOIS 2002, https://doi.org/10.1145/582415.582418).
    """
    ideal = _dcg(gains, places(gains, offsets), offsets, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(ideal > 0, _dcg(gains, place, offsets, k) / ideal, np.nan)


def _dcg(gains: Floats, place: NDArray[np.int64], offsets: NDArray[np.int64], k: int) -> Floats:
    discounted = np.where(place < k, gains / np.log2(place + 2.0), 0.0)
    return np.asarray(np.add.reduceat(discounted, offsets[:-1]))


def total_in_top(values: Floats, place: NDArray[np.int64], offsets: NDArray[np.int64], k: int) -> Floats:
    """Give the sum of *values* over each request's k best, ``[R]``."""
    return np.asarray(np.add.reduceat(np.where(place < k, values, 0.0), offsets[:-1]))
