"""What a change of fusion does to each request; N candidates of R requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray, IntArray
from contract.tasks import Unit
from service.ranking.blocks import Block
from service.ranking.lists import Lists
from service.ranking.rank_change import kendall_tau_b, ranking_of

__all__ = ["Measures", "SideMeasures", "joined", "measure"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SideMeasures:
    """One side of the comparison, every array ``[R]``.

    Args:
        heads: Mean of each head over the top k, NaN where it has no finite value there or the model lacks it.
        non_finite: How many scores are not finite.
        lowest: Of the finite scores, NaN where there is none.
        highest: Likewise.
    """

    heads: Mapping[str, FloatArray]
    non_finite: IntArray
    lowest: FloatArray
    highest: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """Both sides of R requests.

    Args:
        units: Of each head.
        sizes: Candidates of each request.
        overlap: Share of the top k that stays in it.
        first_changed: Whether another candidate comes first.
        tau: Kendall's tau-b over the whole list, NaN where it is not defined.
        entering: Hashed ids that come into a top k, uint64, one entry a request and item.
        leaving: Hashed ids that go out of one.
    """

    units: Mapping[str, Unit]
    sizes: IntArray
    overlap: FloatArray
    first_changed: NDArray[np.bool_]
    tau: FloatArray
    before: SideMeasures
    after: SideMeasures
    entering: NDArray[np.uint64]
    leaving: NDArray[np.uint64]

    def __len__(self) -> int:
        """Give the number of requests."""
        return len(self.sizes)


def measure(block: Block, before: FloatArray, after: FloatArray, *, top_k: int) -> Measures:
    """Compare two scorings ``[N]`` of a block; -inf is a score that is not finite."""
    lists = block.lists
    old, new = ranking_of(before, lists), ranking_of(after, lists)
    in_old, in_new = old.places < top_k, new.places < top_k
    shown = np.minimum(lists.lengths, top_k)
    return Measures(
        units=block.model.heads,
        sizes=lists.lengths,
        overlap=lists.sums(in_old & in_new) / shown,
        first_changed=lists.sums((old.places == 0) & (new.places == 0)) == 0,
        tau=kendall_tau_b(old.codes, new.codes, lists),
        before=_side(block, before, in_old),
        after=_side(block, after, in_new),
        entering=block.items[in_new & ~in_old],
        leaving=block.items[in_old & ~in_new],
    )


def joined(parts: Sequence[Measures]) -> Measures:
    """Lay the measures of several blocks end to end; a head that a block lacks is NaN there."""
    units = {name: unit for part in parts for name, unit in part.units.items()}
    return Measures(
        units=units,
        sizes=np.concatenate([part.sizes for part in parts]),
        overlap=np.concatenate([part.overlap for part in parts]),
        first_changed=np.concatenate([part.first_changed for part in parts]),
        tau=np.concatenate([part.tau for part in parts]),
        before=_joined_sides([part.before for part in parts], tuple(units)),
        after=_joined_sides([part.after for part in parts], tuple(units)),
        entering=np.concatenate([part.entering for part in parts]),
        leaving=np.concatenate([part.leaving for part in parts]),
    )


def _side(block: Block, scores: FloatArray, in_top: NDArray[np.bool_]) -> SideMeasures:
    lists, finite = block.lists, np.isfinite(scores)
    lowest = lists.lowest(np.where(finite, scores, np.inf))
    highest = lists.highest(np.where(finite, scores, -np.inf))
    none = ~np.isfinite(lowest)
    lowest[none] = highest[none] = np.nan
    return SideMeasures(
        heads={name: _top_mean(block.heads[row], in_top, lists) for row, name in enumerate(block.model.heads)},
        non_finite=lists.sums(~finite).astype(np.int64),
        lowest=lowest,
        highest=highest,
    )


def _top_mean(head: FloatArray, in_top: NDArray[np.bool_], lists: Lists) -> FloatArray:
    counted = in_top & np.isfinite(head)
    number = lists.sums(counted)
    total = lists.sums(np.where(counted, head, 0.0))
    mean = np.full(len(total), np.nan)
    np.divide(total, number, out=mean, where=number > 0)
    return mean


def _joined_sides(parts: Sequence[SideMeasures], heads: Sequence[str]) -> SideMeasures:
    def head(name: str) -> FloatArray:
        return np.concatenate([part.heads.get(name, np.full(len(part.lowest), np.nan)) for part in parts])

    return SideMeasures(
        heads={name: head(name) for name in heads},
        non_finite=np.concatenate([part.non_finite for part in parts]),
        lowest=np.concatenate([part.lowest for part in parts]),
        highest=np.concatenate([part.highest for part in parts]),
    )
