"""How far two rankings of the same candidates differ, for many requests at once."""

from dataclasses import dataclass

import numpy as np

from contract.arrays import FloatArray, IntArray
from service.ranking.lists import Lists

__all__ = ["Ranking", "kendall_tau_b", "ranking_of"]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Every candidate's standing in its own list; 0 is the best.

    Args:
        places: Int64 ``[N]``; equal scores keep the given order, as in an answer.
        codes: Int64 ``[N]``; equal scores have the same one, and no number is left out.
    """

    places: IntArray
    codes: IntArray


def ranking_of(scores: FloatArray, lists: Lists) -> Ranking:
    """Rank the candidates ``[N]`` of each list by score, best first; scores hold no NaN."""
    order = np.lexsort((-scores, lists.owner))  # stable, as ordering.order_by_score is
    places, codes = np.empty(lists.size, dtype=np.int64), np.empty(lists.size, dtype=np.int64)
    places[order] = np.arange(lists.size) - lists.each(lists.starts)
    falling = scores[order]
    is_new = np.empty(lists.size, dtype=np.int64)
    is_new[1:] = falling[1:] != falling[:-1]
    is_new[lists.starts] = 0
    steps = np.cumsum(is_new)
    codes[order] = steps - lists.each(steps[lists.starts])
    return Ranking(places=places, codes=codes)


def kendall_tau_b(first: IntArray, second: IntArray, lists: Lists) -> FloatArray:
    """Give Kendall's tau-b of each list ``[R]``; NaN where a side has fewer than two different values.

    Pairs that agree less pairs that disagree, over all pairs that could, ties taken out on either side (Kendall,
    "The treatment of ties in ranking problems", Biometrika 1945). Pairs are counted as Knight does ("A computer method
    for calculating Kendall's tau with ungrouped data", JASA 1966): sorted by the first side, the disagreeing pairs are
    the inversions of the second; O(N log n) for lists of n.

    Args:
        first: Whole numbers from 0, int64 ``[N]``, at most the length of the list; see :attr:`Ranking.codes`.
        second: Likewise.
    """
    bits = int(lists.lengths.max()).bit_length()
    keys = np.sort((((lists.owner << bits) | first) << bits) | second)
    pairs = lists.lengths * (lists.lengths - 1) / 2
    tied_first = _tied_pairs(keys >> bits, lists)
    tied_both = _tied_pairs(keys, lists)
    inversions, by_second = _inversions(keys & ((1 << bits) - 1), bits, lists)
    tied_second = _tied_pairs(by_second, lists)
    agreement = pairs - tied_first - tied_second + tied_both - 2 * inversions
    room = (pairs - tied_first) * (pairs - tied_second)
    tau = np.full(len(pairs), np.nan)
    np.divide(agreement, np.sqrt(room), out=tau, where=room > 0)
    return tau


def _tied_pairs(keys: IntArray, lists: Lists) -> FloatArray:
    """Count, for each list, the pairs of equal keys; *keys* are sorted and differ from list to list."""
    starts = _runs(keys)
    lengths = np.diff(starts, append=len(keys)).astype(np.float64)
    pairs = lengths * (lengths - 1) / 2
    return np.asarray(np.bincount(lists.owner[starts], pairs, len(lists.lengths)), dtype=np.float64)


def _inversions(codes: IntArray, bits: int, lists: Lists) -> tuple[FloatArray, IntArray]:
    """Count, for each list, the pairs that stand in the wrong order; also give the keys in the right one.

    Sorts by one bit after the other, the highest first. Two codes that agree in all higher bits stand in one group,
    in their first order: each 0 that has 1s ahead of it there makes as many inversions, and every pair of different
    codes meets at exactly one bit. Then the 0s of each group go before its 1s. No step sorts: each is a running sum.
    """
    keys = (lists.owner << bits) | codes
    here = np.arange(len(keys))
    count = np.zeros(len(lists.lengths))
    for bit in reversed(range(bits)):
        ones = (keys >> bit) & 1
        starts = _runs(keys >> (bit + 1))
        lengths = np.diff(starts, append=len(keys))
        before = np.cumsum(ones) - ones
        ahead = before - np.repeat(before[starts], lengths)
        count += lists.sums(ahead * (1 - ones))
        first_one = np.repeat(starts + lengths - np.add.reduceat(ones, starts), lengths)
        sorted_keys = np.empty_like(keys)
        sorted_keys[np.where(ones == 1, first_one + ahead, here - ahead)] = keys
        keys = sorted_keys
    return count, keys


def _runs(keys: IntArray) -> IntArray:
    """Give where each run of equal keys begins."""
    begins = np.empty(len(keys), dtype=bool)
    begins[0] = True
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    return np.flatnonzero(begins)
