"""How far a shadow's ranking is from the one that was answered."""

from dataclasses import dataclass

import numpy as np

from contract.arrays import FloatArray
from service.ranking.lists import Lists
from service.ranking.rank_change import kendall_tau_b, ranking_of

__all__ = ["TOP", "ShadowChange", "shadow_change"]

TOP = 10


@dataclass(frozen=True, kw_only=True)
class ShadowChange:
    """What would have been different.

    Args:
        top_overlap: Share of the first ten that both rankings have, 0 to 1.
        kendall_tau: Tau-b of all candidates, -1 to 1; NaN where a side has fewer than two different scores.
        first_changed: Whether another candidate would have come first.
    """

    top_overlap: float
    kendall_tau: float
    first_changed: bool


def shadow_change(answered: FloatArray, shadow: FloatArray) -> ShadowChange:
    """Compare two scorings ``[N]`` of the same candidates; scores hold no NaN."""
    size = len(answered)
    one_list = Lists.of_lengths(np.array([size]))
    first, second = (ranking_of(scores, one_list) for scores in (answered, shadow))
    in_both = (first.places < TOP) & (second.places < TOP)
    return ShadowChange(
        top_overlap=float(np.count_nonzero(in_both)) / min(TOP, size),
        kendall_tau=float(kendall_tau_b(first.codes, second.codes, one_list)[0]),
        first_changed=bool(np.argmin(first.places) != np.argmin(second.places)),
    )
