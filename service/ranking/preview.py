"""Recent requests ranked again under another fusion: what would change, before anything does."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from contract.errors import FormulaError
from contract.fusion import Fusion
from service.ports import Clock
from service.ranking.blocks import Block, parts_of
from service.ranking.kept import KeptModel, KeptRequest
from service.ranking.measures import Measures, joined, measure
from service.ranking.reservoir import Snapshot
from service.ranking.summary import Change, ItemCount, SegmentChange, by_segment, counted, summarise

__all__ = ["Pair", "Preview", "PreviewQuestion", "VersionUse", "preview"]

NO_SUCH_FIELD = "(no such field in this version)"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both fusions, compiled for one model version with the policy ``bottom``."""

    before: Fusion
    after: Fusion


@dataclass(frozen=True, kw_only=True)
class PreviewQuestion:
    """What an operator wants to know.

    Args:
        profile: Only requests of this profile are ranked again.
        pair: Compiles both fusions for a version; raises FormulaError where one of them does not fit it.
        top_k: How many results count as shown.
        segment_by: A request field; None for no segments.
        max_requests: Requests that are ranked again at most; a random choice where there are more.
        budget_s: Seconds after which the answer is made of what is done.
    """

    profile: str
    pair: Callable[[KeptModel], Pair]
    top_k: int
    segment_by: str | None
    max_requests: int
    budget_s: float


@dataclass(frozen=True, kw_only=True)
class VersionUse:
    """The kept requests that one model version scored; *refusal* says why they could not be used, or is empty."""

    model: str
    version: int
    requests: int
    refusal: str


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What would change.

    Args:
        kept: Requests of the profile that were there.
        chosen: Those that were to be ranked again.
        versions: Which version scored what was kept.
        change: Over all requests that were ranked again; None when there were none.
        segments: The same by segment, the largest first.
        entering: Items that come into a top k most often.
        leaving: Items that go out of one most often.
        own_weights: Requests among them whose caller had replaced weights, which is left out of account.
        oldest_s: Age of the oldest request, in seconds.
        newest_s: Age of the newest.
    """

    kept: int
    chosen: int
    versions: tuple[VersionUse, ...]
    change: Change | None = None
    segments: tuple[SegmentChange, ...] = ()
    entering: tuple[ItemCount, ...] = ()
    leaving: tuple[ItemCount, ...] = ()
    own_weights: int = 0
    oldest_s: float | None = None
    newest_s: float | None = None


def preview(question: PreviewQuestion, snapshot: Snapshot, *, clock: Clock, source: random.Random) -> Preview:
    """Rank the kept requests of a profile again and compare. Blocking; safe in any thread.

    Blocks are taken in random order, so that an answer whose time ran out is still of a fair sample.

    Args:
        clock: Monotonic seconds, for the budget.
        source: Of randomness.
    """
    end = clock() + question.budget_s
    kept = [request for request in snapshot.requests if request.profile == question.profile]
    pairs, versions = _pairs(kept, question.pair)
    usable = [request for request in kept if request.model in pairs]
    chosen = source.sample(usable, min(len(usable), question.max_requests))
    parts = parts_of(chosen)
    source.shuffle(parts)
    ranked: list[KeptRequest] = []
    measured: list[Measures] = []
    for part in parts:
        measured.append(_compared(Block.of(part), pairs, question.top_k))
        ranked.extend(part)
        if clock() >= end:
            break
    answer = Preview(kept=len(kept), chosen=len(chosen), versions=versions)
    return _summed(answer, question, snapshot.taken_at, ranked, joined(measured)) if measured else answer


def _compared(block: Block, pairs: Mapping[KeptModel, Pair], top_k: int) -> Measures:
    pair = pairs[block.model]
    return measure(block, block.scores(pair.before), block.scores(pair.after), top_k=top_k)


def _summed(
    answer: Preview, question: PreviewQuestion, now: float, ranked: Sequence[KeptRequest], measures: Measures
) -> Preview:
    ages = [now - request.taken_at for request in ranked]
    values = [_value(request, question.segment_by) for request in ranked] if question.segment_by else []
    return replace(
        answer,
        change=summarise(measures, top_k=question.top_k),
        segments=by_segment(measures, values, top_k=question.top_k) if values else (),
        entering=counted(measures.entering),
        leaving=counted(measures.leaving),
        own_weights=sum(request.own_weights for request in ranked),
        oldest_s=max(ages),
        newest_s=min(ages),
    )


def _value(request: KeptRequest, field: str) -> str:
    names = tuple(request.model.segments)
    return request.segments[names.index(field)] if field in names else NO_SUCH_FIELD


def _pairs(
    kept: Sequence[KeptRequest], compile_pair: Callable[[KeptModel], Pair]
) -> tuple[Mapping[KeptModel, Pair], tuple[VersionUse, ...]]:
    counts: dict[KeptModel, int] = {}
    for request in kept:
        counts[request.model] = counts.get(request.model, 0) + 1
    pairs: dict[KeptModel, Pair] = {}
    versions: list[VersionUse] = []
    for model, count in sorted(counts.items(), key=lambda each: (each[0].name, each[0].version)):
        refusal = ""
        try:
            pairs[model] = compile_pair(model)
        except FormulaError as error:
            refusal = error.detail
        versions.append(VersionUse(model=model.name, version=model.version, requests=count, refusal=refusal))
    return pairs, tuple(versions)
