"""How far a shadow's ranking is from the one that was answered."""

from dataclasses import dataclass

import numpy as np

from contract.arrays import FloatArray
from service.ranking.ordering import order_by_score

__all__ = ["TOP", "ShadowChange", "shadow_change"]

TOP = 10
_PAIRED = 100  # places of either ranking whose candidates are paired; beyond, nobody looks


@dataclass(frozen=True, kw_only=True)
class ShadowChange:
    """What would have been different.

    Args:
        top_overlap: Share of the first ten that both rankings have, 0 to 1.
        kendall_tau: Tau-b of the scores of the candidates that either ranking has in its first hundred, -1 to 1; NaN
            where a side has fewer than two different scores there.
        first_changed: Whether another candidate would have come first.
    """

    top_overlap: float
    kendall_tau: float
    first_changed: bool


def shadow_change(answered: FloatArray, shadow: FloatArray) -> ShadowChange:
    """Compare two scorings ``[N]`` of the same candidates; scores hold no NaN."""
    first, second = (order_by_score(scores, _PAIRED) for scores in (answered, shadow))
    paired = np.union1d(first, second)
    top = first[:TOP]
    return ShadowChange(
        top_overlap=len(np.intersect1d(top, second[:TOP])) / len(top),
        kendall_tau=_kendall_tau_b(answered[paired], shadow[paired]),
        first_changed=bool(first[0] != second[0]),
    )


def _kendall_tau_b(first: FloatArray, second: FloatArray) -> float:
    """Pairs that agree less those that disagree, over the pairs that are no tie (Kendall, Biometrika 1945)."""
    signs = [(scores[:, None] > scores).astype(np.int8) - (scores[:, None] < scores) for scores in (first, second)]
    room = np.prod([np.count_nonzero(sign) for sign in signs], dtype=np.float64)
    agreement = float((signs[0] * signs[1]).sum(dtype=np.int64))
    return agreement / float(np.sqrt(room)) if room else float("nan")
