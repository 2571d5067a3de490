"""Recent requests ranked again under another fusion: what would change, before anything does."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from contract.fusion import AnyProfile
from service.ports import Scorer
from service.ranking.blocks import Block, Part
from service.ranking.compiling import LearnedLoader, compiled
from service.ranking.kept import KeptModel
from service.ranking.measures import Measures, joined, measure
from service.ranking.summary import Change, ItemCount, SegmentChange, by_segment, counted, summarise

__all__ = ["KeptCompiler", "KeptProfileCompiler", "Preview", "PreviewJob"]

NO_SUCH_FIELD = "(no such field in this version)"

KeptCompiler = Callable[[AnyProfile, KeptModel], Scorer]
"""Makes a profile ready to run on what a version scored; raises FormulaError. It has to be something to pickle."""


@dataclass(frozen=True, kw_only=True)
class KeptProfileCompiler:
    """Compiles for a version that may have left memory; see :data:`KeptCompiler`.

    Args:
        load: Opens learned profiles, and can be pickled; None where only formulas are served.
    """

    load: LearnedLoader | None = None

    def __call__(self, profile: AnyProfile, model: KeptModel) -> Scorer:
        """Compile.

        Raises:
            FormulaError: When the profile does not fit the version.
        """
        return compiled(profile, name=model.name, variables=model.variables, load=self.load)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What would change over the requests that were ranked again, at least one.

    Args:
        segments: The same by segment, the largest first.
        entering: Items that come into a top k most often.
        leaving: Items that go out of one most often.
        turned: Requests that were ranked with other weights than the profile's, which is left out of account.
        oldest_s: Age of the oldest request, in seconds.
        newest_s: Age of the newest.
    """

    change: Change
    segments: tuple[SegmentChange, ...]
    entering: tuple[ItemCount, ...]
    leaving: tuple[ItemCount, ...]
    turned: int
    oldest_s: float
    newest_s: float


@dataclass(frozen=True, kw_only=True)
class PreviewJob:
    """The work of a preview: a value that can travel to another process.

    Args:
        models: The versions that scored the requests, by name and version; both profiles fit each.
        before: The profile in force.
        after: The proposed one.
        top_k: How many results count as shown.
        segment_by: A request field; None for no segments.
        budget_s: Seconds after which the answer is made of what is done.
        now: Monotonic seconds, to tell the age of a request.
    """

    models: Mapping[tuple[str, int], KeptModel]
    compile_kept: KeptCompiler
    before: AnyProfile
    after: AnyProfile
    top_k: int
    segment_by: str | None
    budget_s: float
    now: float

    def __call__(self, parts: Iterable[Part]) -> Preview | None:
        """Rank the requests again; None where there are none. Parts come in random order, so some are a fair sample."""
        end = time.monotonic() + self.budget_s
        sides = {key: self._sides(model) for key, model in self.models.items()}
        done: list[Part] = []
        measured: list[Measures] = []
        for part in parts:
            block = Block.of(part, self.models[part.model])
            before, after = (block.scores(fusion) for fusion in sides[part.model])
            measured.append(measure(block, before, after, top_k=self.top_k))
            done.append(part)
            if time.monotonic() >= end:
                break
        return self._summed(done, joined(measured)) if done else None

    def _sides(self, model: KeptModel) -> tuple[Scorer, Scorer]:
        # A score that is not finite is counted here; it must not end the preview.
        before, after = (profile.model_copy(update={"non_finite": "bottom"}) for profile in (self.before, self.after))
        return self.compile_kept(before, model), self.compile_kept(after, model)

    def _summed(self, parts: list[Part], measures: Measures) -> Preview:
        ages = [self.now - taken_at for part in parts for taken_at in part.taken_at]
        values = list(chain.from_iterable(map(self._values, parts))) if self.segment_by else []
        return Preview(
            change=summarise(measures, top_k=self.top_k),
            segments=by_segment(measures, values, top_k=self.top_k) if values else (),
            entering=counted(measures.entering),
            leaving=counted(measures.leaving),
            turned=sum(map(sum, (part.turned for part in parts))),
            oldest_s=max(ages),
            newest_s=min(ages),
        )

    def _values(self, part: Part) -> list[str]:
        """Give the value of each request in the field of the segments."""
        fields = list(self.models[part.model].segments)
        if self.segment_by not in fields:
            return [NO_SUCH_FIELD] * len(part.sizes)
        column = fields.index(self.segment_by)
        return [segments[column] for segments in part.segments]
