"""Where operators ask for a preview: one answer at a time, worked out beside the requests."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Protocol

from contract.errors import FormulaError
from contract.fusion import AnyProfile
from service.errors import PreviewBusy
from service.ports import Clock, ModelCatalog
from service.ranking.blocks import Part, parts_of
from service.ranking.choice import Choice, VersionUse
from service.ranking.kept import KeptModel
from service.ranking.preview import KeptCompiler, Preview, PreviewJob
from service.ranking.proposal import Comparison, InForceProfile, Proposal, compared
from service.ranking.reservoir import Reservoir

__all__ = ["PreviewAnswer", "PreviewDesk", "PreviewObserver", "PreviewRunner"]

BUDGET_S = 10.0
_RETRY_AFTER_S = 1.0
_PAUSE_S = 0.002
_MODEL = attrgetter("model")


class PreviewObserver(Protocol):
    """Told how long each preview took."""

    def observe_preview(self, *, seconds: float) -> None:
        """Record one."""
        ...


class PreviewRunner(Protocol):
    """Runs the work of a preview where it disturbs no request."""

    async def __call__(
        self, work: Callable[[Iterator[Part]], Preview | None], parts: Iterable[Part], *, budget_s: float
    ) -> Preview | None:
        """Give what *work* makes of *parts*.

        Args:
            budget_s: Seconds that the work means to take.

        Raises:
            WorkerFailed: When it could not be run.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PreviewAnswer:
    """A preview, and what was compared.

    Args:
        is_sampling: False where no requests are ever kept here.
        kept: Requests of the profile that were there.
        chosen: Those that were to be ranked again.
        versions: Which version scored what was kept.
        preview: None where nothing could be ranked again.
    """

    comparison: Comparison
    top_k: int
    is_sampling: bool
    kept: int
    chosen: int
    versions: tuple[VersionUse, ...]
    preview: Preview | None


class PreviewDesk:
    """Answers previews.

    Args:
        reservoir: Where recent requests are kept.
        in_force: Gives the profile in force under a name; raises UnknownProfile.
        compile_kept: Makes a profile ready to run on what a version scored.
        catalog: The served models.
        run: Does the work.
        observer: Told of every preview.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        reservoir: Reservoir,
        in_force: Callable[[str], InForceProfile],
        compile_kept: KeptCompiler,
        catalog: ModelCatalog,
        run: PreviewRunner,
        observer: PreviewObserver,
        clock: Clock,
    ) -> None:
        self._reservoir = reservoir
        self._in_force = in_force
        self._compile_kept = compile_kept
        self._catalog = catalog
        self._run = run
        self._observer = observer
        self._clock = clock
        self._busy = False

    async def answer(self, profile_name: str, proposal: Proposal) -> PreviewAnswer:
        """Rank what was kept again.

        Raises:
            UnknownProfile: When there is no such profile.
            FormulaError: When the proposed profile fits no served model, or a weight is not allowed.
            InvalidField: When requests cannot be told apart by the field.
            PreviewBusy: When another preview runs.
            WorkerFailed: When the work could not be done.
        """
        current = self._in_force(profile_name)
        if self._busy:
            raise PreviewBusy("another preview is running", fix="try again shortly", retry_after_s=_RETRY_AFTER_S)
        self._busy, begin = True, self._clock()
        try:
            served = [KeptModel.of(model.manifest, model.version) for model in self._catalog.all()]
            await asyncio.sleep(_PAUSE_S)
            comparison = compared(proposal, current, served, self._compile_kept)
            answer = await self._work(comparison, proposal)
        finally:
            self._busy = False
        self._observer.observe_preview(seconds=self._clock() - begin)
        return answer

    async def _work(self, comparison: Comparison, proposal: Proposal) -> PreviewAnswer:
        # Each of these steps takes a tenth of a millisecond or two; requests go between.
        await asyncio.sleep(_PAUSE_S)
        current, snapshot = comparison.current, self._reservoir.snapshot()
        refusals = dict.fromkeys(set(map(_MODEL, snapshot.requests)), "")
        for model in refusals:
            await asyncio.sleep(_PAUSE_S)
            refusals[model] = self._refusal(model, (current.profile, comparison.proposed))
        choice = Choice(profile=current.name, refusals=refusals, most=proposal.max_requests)
        requests = choice.of(snapshot.requests)
        job = PreviewJob(
            models={model.key: model for model, refusal in refusals.items() if not refusal},
            compile_kept=self._compile_kept,
            before=current.profile,
            after=comparison.proposed,
            top_k=proposal.top_k,
            segment_by=proposal.segment_by,
            budget_s=BUDGET_S,
            now=snapshot.taken_at,
        )
        await asyncio.sleep(_PAUSE_S)
        preview = await self._preview(job, parts_of(requests))
        return PreviewAnswer(
            comparison=comparison,
            top_k=proposal.top_k,
            is_sampling=self._reservoir.is_on,
            kept=choice.kept.total(),
            chosen=choice.chosen,
            versions=choice.versions(),
            preview=preview,
        )

    async def _preview(self, job: PreviewJob, parts: Iterator[Part]) -> Preview | None:
        first = next(parts, None)
        if first is None:
            return None
        preview = await self._run(job, chain((first,), parts), budget_s=BUDGET_S)
        deque(parts, maxlen=0)  # counted too, where time ran out
        return preview

    def _refusal(self, model: KeptModel, profiles: Sequence[AnyProfile]) -> str:
        try:
            for profile in profiles:
                self._compile_kept(profile, model)
        except FormulaError as error:
            return error.detail
        return ""
