"""Many requests' measures to the few numbers that an operator reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray
from contract.tasks import Unit
from service.ranking.measures import Measures, SideMeasures

__all__ = ["FEW_REQUESTS", "Change", "HeadChange", "ItemCount", "SegmentChange", "by_segment", "counted", "summarise"]

FEW_REQUESTS = 30
"""Below this many requests the intervals, which lean on the normal distribution, say little."""

_LARGEST_SEGMENTS = 20
_MOST_COUNTED_ITEMS = 20
_Z = 1.959964  # 95 % of the normal distribution lie within so many standard deviations


@dataclass(frozen=True, kw_only=True)
class HeadChange:
    """A head's mean over the top k, each request counting once.

    Args:
        requests: Those with a finite value of the head on both sides.
        change: *after* - *before*, in the head's unit.
        percent: The change in percent of *before*; None where *before* is 0.
        percent_low: Lower end of the 95 % interval of *percent*; None for fewer than two requests.
        percent_high: Its upper end.
    """

    name: str
    unit: Unit
    requests: int
    before: float
    after: float
    change: float
    percent: float | None
    percent_low: float | None
    percent_high: float | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changes over some requests; None stands for what is not defined.

    Args:
        top_k_overlap: Mean share of a request's top k that stays in it.
        first_changed: Share of requests in which another candidate comes first.
        kendall_tau: Mean of tau-b over the whole list; 1 is the same order, -1 the reverse.
        tau_requests: Requests in which tau is defined: both sides tell at least two candidates apart.
        unaffected: Requests with no more candidates than the top k, whose overlap is 1 whatever happens.
        non_finite: Scores that are not finite, before and after.
        hit_requests: Requests with such a score, before and after.
        score_range: Least and greatest finite score, before and after.
    """

    requests: int
    candidates: int
    top_k_overlap: float
    first_changed: float
    kendall_tau: float | None
    tau_requests: int
    unaffected: int
    heads: tuple[HeadChange, ...]
    non_finite: tuple[int, int]
    hit_requests: tuple[int, int]
    score_range: tuple[tuple[float, float] | None, tuple[float, float] | None]


@dataclass(frozen=True, kw_only=True)
class SegmentChange:
    """The requests with one value of a field; *value* is None for all the smaller ones together."""

    value: str | None
    values: int
    change: Change


@dataclass(frozen=True, kw_only=True)
class ItemCount:
    """A hashed item id, and in how many requests it was found."""

    item: str
    requests: int


def summarise(measures: Measures, *, top_k: int, of: NDArray[np.bool_] | None = None) -> Change:
    """Sum up the requests *of* a mask ``[R]``, all when None; there is at least one."""
    chosen = np.ones(len(measures), dtype=bool) if of is None else of
    sizes, tau = measures.sizes[chosen], measures.tau[chosen]
    known = tau[np.isfinite(tau)]
    return Change(
        requests=len(sizes),
        candidates=int(sizes.sum()),
        top_k_overlap=float(measures.overlap[chosen].mean()),
        first_changed=float(measures.first_changed[chosen].mean()),
        kendall_tau=float(known.mean()) if len(known) else None,
        tau_requests=len(known),
        unaffected=int(np.count_nonzero(sizes <= top_k)),
        heads=tuple(_heads(measures, chosen)),
        non_finite=_both(measures, lambda side: int(side.non_finite[chosen].sum())),
        hit_requests=_both(measures, lambda side: int(np.count_nonzero(side.non_finite[chosen]))),
        score_range=_both(measures, lambda side: _range(side, chosen)),
    )


def by_segment(measures: Measures, values: Sequence[str], *, top_k: int) -> tuple[SegmentChange, ...]:
    """Sum up the requests of each value ``[R]``, the largest first and the small ones together."""
    names, which, counts = np.unique(np.array(values), return_inverse=True, return_counts=True)
    largest = np.argsort(-counts, kind="stable")
    shown, rest = largest[:_LARGEST_SEGMENTS], largest[_LARGEST_SEGMENTS:]
    found = [
        SegmentChange(value=str(names[row]), values=1, change=summarise(measures, top_k=top_k, of=which == row))
        for row in shown
    ]
    if len(rest):
        others = summarise(measures, top_k=top_k, of=np.isin(which, rest))
        found.append(SegmentChange(value=None, values=len(rest), change=others))
    return tuple(found)


def counted(items: NDArray[np.uint64]) -> tuple[ItemCount, ...]:
    """Give the ids that occur most often."""
    ids, counts = np.unique(items, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_MOST_COUNTED_ITEMS]
    return tuple(ItemCount(item=f"{ids[row]:016x}", requests=int(counts[row])) for row in most)


def _both(measures: Measures, of: Any) -> Any:
    return of(measures.before), of(measures.after)


def _range(side: SideMeasures, chosen: NDArray[np.bool_]) -> tuple[float, float] | None:
    lowest, highest = side.lowest[chosen], side.highest[chosen]
    known = np.isfinite(lowest)
    return (float(lowest[known].min()), float(highest[known].max())) if known.any() else None


def _heads(measures: Measures, chosen: NDArray[np.bool_]) -> list[HeadChange]:
    sides: Mapping[str, tuple[FloatArray, FloatArray]] = {
        name: (measures.before.heads[name][chosen], measures.after.heads[name][chosen]) for name in measures.units
    }
    found = [head_change(name, measures.units[name], *both) for name, both in sides.items()]
    return [each for each in found if each is not None]


def head_change(name: str, unit: Unit, before: FloatArray, after: FloatArray) -> HeadChange | None:
    """Compare one head's means over the top k ``[R]``, NaN where a request has none; None where no request has both.

    The interval is that of a ratio of two means over the same requests, by the delta method (for requests as units of
    analysis see Deng, Knoblich and Lu, "Applying the delta method in metric analytics", KDD 2018,
    https://arxiv.org/abs/1803.06336): what one request adds to both sides cancels.
    """
    known = np.isfinite(before) & np.isfinite(after)
    before, after = before[known], after[known]
    if not len(before):
        return None
    old, new = float(before.mean()), float(after.mean())
    percent = half = None
    if old != 0:
        percent = 100 * (new - old) / abs(old)
        if len(before) > 1:
            half = 100 * _Z * float(np.std(after - new / old * before, ddof=1)) / (abs(old) * len(before) ** 0.5)
    return HeadChange(
        name=name,
        unit=unit,
        requests=len(before),
        before=old,
        after=new,
        change=new - old,
        percent=percent,
        percent_low=None if half is None or percent is None else percent - half,
        percent_high=None if half is None or percent is None else percent + half,
    )
