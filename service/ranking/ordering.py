"""Scores to a ranking."""

import numpy as np

from contract.arrays import FloatArray, IntArray

__all__ = ["order_by_score"]


def order_by_score(scores: FloatArray, top_k: int | None) -> IntArray:
    """Give the positions of the *top_k* best scores ``[N]``, best first; equal scores keep the given order.

    A partial sort pays only while few of many are wanted, and it has to see ties whole to keep their order:
    everything at or above the k-th best score is sorted, then cut.
    """
    if top_k is None or top_k >= len(scores):
        return np.argsort(-scores, kind="stable")
    threshold = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
    leaders = np.flatnonzero(scores >= threshold)
    return leaders[np.argsort(-scores[leaders], kind="stable")][:top_k]
