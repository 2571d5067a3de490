"""Which buckets of a layer belong to whom.

An operator gives shares, the service gives buckets and keeps them beside what the operator wrote. So what was allotted
stays: an experiment that grows keeps its buckets and takes free ones, one that leaves frees its own and moves nobody
else, and PlanOut's replay of all that ever happened in a namespace (https://facebook.github.io/planout/docs/namespaces.html)
is not needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.frozen import Frozen
from service.ranking.experiments.documents import BUCKETS, Layer, count_of

__all__ = ["Allotment", "AllottedLayer", "Range", "allot"]

Bound = Annotated[int, Field(ge=0, le=BUCKETS)]
Range = tuple[Bound, Bound]
Ranges = tuple[Range, ...]


class Allotment(Frozen):
    """Buckets as ranges ``[start, end)``, in the order in which a ramp takes them in."""

    holdout: Ranges = ()
    experiments: dict[str, Ranges] = Field(default_factory=dict)

    def all(self) -> Iterable[Ranges]:
        """Give everybody's ranges."""
        return (self.holdout, *self.experiments.values())


class AllottedLayer(Frozen):
    """A layer whole: what the operator wrote, and what was allotted."""

    schema_version: Literal[1] = 1
    layer: Layer
    allotment: Allotment

    @model_validator(mode="after")
    def _agree(self) -> Self:
        shares = {each.name: each.share for each in self.layer.experiments}
        if self.allotment.experiments.keys() != shares.keys():
            raise ValueError("the experiments and those that have buckets are not the same")
        wanted = [(self.layer.holdout, self.allotment.holdout)]
        wanted += [(share, self.allotment.experiments[name]) for name, share in shares.items()]
        if any(count_of(share) != _size(ranges) for share, ranges in wanted):
            raise ValueError("a share and its buckets are not the same")
        taken = [bucket for ranges in self.allotment.all() for start, end in ranges for bucket in range(start, end)]
        if len(taken) != len(set(taken)):
            raise ValueError("two experiments have the same bucket")
        return self


def allot(layer: Layer, before: Allotment | None = None) -> AllottedLayer:
    """Give everyone as many buckets as the shares say, and leave with everyone what they can keep.

    Who shrinks gives back what came last. Free buckets are taken in order, the holdout first.
    """
    before = before or Allotment()
    wanted: Mapping[str, int] = {each.name: count_of(each.share) for each in layer.experiments}
    holdout = _first(before.holdout, count_of(layer.holdout))
    kept = {name: _first(before.experiments.get(name, ()), count) for name, count in wanted.items()}
    free = _free([holdout, *kept.values()])
    holdout = _grow(holdout, count_of(layer.holdout), free)
    grown = {name: _grow(ranges, wanted[name], free) for name, ranges in kept.items()}
    return AllottedLayer(layer=layer, allotment=Allotment(holdout=holdout, experiments=grown))


def _size(ranges: Ranges) -> int:
    return sum(end - start for start, end in ranges)


def _first(ranges: Ranges, count: int) -> Ranges:
    kept: list[Range] = []
    for start, end in ranges:
        if count > 0:
            kept.append((start, min(end, start + count)))
            count -= kept[-1][1] - start
    return tuple(kept)


def _free(taken: Sequence[Ranges]) -> list[Range]:
    free, start = [], 0
    for begin, end in sorted(each for ranges in taken for each in ranges):
        if start < begin:
            free.append((start, begin))
        start = end
    return [*free, (start, BUCKETS)] if start < BUCKETS else free


def _grow(ranges: Ranges, count: int, free: list[Range]) -> Ranges:
    """Give *ranges* with free ones behind them until they hold *count*; what was taken is no longer in *free*."""
    missing = count - _size(ranges)
    taken = _first(tuple(free), missing)
    free[:] = _after(free, missing)
    return _joined((*ranges, *taken))


def _after(ranges: Sequence[Range], count: int) -> list[Range]:
    left: list[Range] = []
    for start, end in ranges:
        skipped = min(count, end - start)
        count -= skipped
        if start + skipped < end:
            left.append((start + skipped, end))
    return left


def _joined(ranges: Ranges) -> Ranges:
    joined: list[Range] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)
