"""Where operators ask for a preview: checks what is proposed, and works out one answer at a time."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contract.errors import FormulaError
from contract.fusion import AnyProfile, FusionProfile
from contract.weights import changed_weights
from service.errors import InvalidField, PreviewBusy
from service.ports import Clock, ModelCatalog
from service.ranking.blocks import Part, parts_of
from service.ranking.kept import KeptModel, KeptRequest, segment_fields
from service.ranking.preview import KeptCompiler, Preview, PreviewJob
from service.ranking.reservoir import Reservoir

__all__ = ["PreviewAnswer", "PreviewDesk", "PreviewObserver", "PreviewRunner", "Proposal", "VersionUse"]

BUDGET_S = 10.0
_RETRY_AFTER_S = 1.0


class PreviewObserver(Protocol):
    """Told how long each preview took."""

    def observe_preview(self, *, seconds: float) -> None:
        """Record one."""
        ...


class PreviewRunner(Protocol):
    """Runs the work of a preview where it disturbs no request. Blocking."""

    def __call__(
        self, work: Callable[[Iterator[Part]], Preview | None], parts: Iterable[Part], *, budget_s: float
    ) -> Preview | None:
        """Give what *work* makes of *parts*.

        Raises:
            WorkerFailed: When it could not be run.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What an operator would change.

    Args:
        profile: The whole proposed profile; None where only weights change.
        weights: New values of weights of the profile in force, by name.
        top_k: How many results count as shown.
        segment_by: A request field to tell requests apart by; None for no segments.
        max_requests: Requests that are ranked again at most.
    """

    profile: AnyProfile | None
    weights: Mapping[str, float]
    top_k: int
    segment_by: str | None
    max_requests: int


@dataclass(frozen=True, kw_only=True)
class VersionUse:
    """The kept requests that one model version scored; *refusal* says why they could not be used, or is empty."""

    model: str
    version: int
    requests: int
    refusal: str


@dataclass(frozen=True, kw_only=True)
class PreviewAnswer:
    """A preview, and what was compared.

    Args:
        revision: Of the profile in force.
        is_sampling: False where no requests are ever kept here.
        kept: Requests of the profile that were there.
        chosen: Those that were to be ranked again.
        versions: Which version scored what was kept.
        preview: None where nothing could be ranked again.
    """

    profile_name: str
    revision: int
    current: AnyProfile
    proposed: AnyProfile
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
        in_force: Gives the revision and the profile in force under a name; raises UnknownProfile.
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
        in_force: Callable[[str], tuple[int, AnyProfile]],
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
        self._busy = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fulcrum-preview")

    async def answer(self, profile_name: str, proposal: Proposal) -> PreviewAnswer:
        """Rank what was kept again.

        Raises:
            UnknownProfile: When there is no such profile.
            FormulaError: When the proposed profile fits no served model, or a weight is not allowed.
            InvalidField: When requests cannot be told apart by the field.
            PreviewBusy: When another preview runs.
            WorkerFailed: When the work could not be done.
        """
        revision, current = self._in_force(profile_name)
        proposed = proposal.profile or _with_weights(current, proposal.weights)
        self._check(proposed, proposal.segment_by)
        if not self._busy.acquire(blocking=False):
            raise PreviewBusy("another preview is running", fix="try again shortly", retry_after_s=_RETRY_AFTER_S)
        begin = self._clock()
        running = self._thread.submit(self._work, profile_name, revision, current, proposed, proposal)
        # Not in a `finally`: a caller that leaves does not end the thread.
        running.add_done_callback(lambda _: self._busy.release())
        answer = await asyncio.wrap_future(running)
        self._observer.observe_preview(seconds=self._clock() - begin)
        return answer

    def _work(
        self, profile_name: str, revision: int, current: AnyProfile, proposed: AnyProfile, proposal: Proposal
    ) -> PreviewAnswer:
        snapshot = self._reservoir.snapshot()
        kept = [request for request in snapshot.requests if request.profile == profile_name]
        models, versions = self._usable(kept, current, proposed)
        chosen = _some([request for request in kept if request.model.key in models], proposal.max_requests)
        job = PreviewJob(
            models=models,
            compile_kept=self._compile_kept,
            before=current,
            after=proposed,
            top_k=proposal.top_k,
            segment_by=proposal.segment_by,
            budget_s=BUDGET_S,
            now=snapshot.taken_at,
        )
        return PreviewAnswer(
            profile_name=profile_name,
            revision=revision,
            current=current,
            proposed=proposed,
            top_k=proposal.top_k,
            is_sampling=self._reservoir.is_on,
            kept=len(kept),
            chosen=len(chosen),
            versions=versions,
            preview=self._run(job, parts_of(chosen), budget_s=BUDGET_S) if chosen else None,
        )

    def _usable(
        self, kept: Sequence[KeptRequest], *profiles: AnyProfile
    ) -> tuple[dict[tuple[str, int], KeptModel], tuple[VersionUse, ...]]:
        """Tell for which versions all profiles compile; a version may have been swapped away since."""
        models: dict[tuple[str, int], KeptModel] = {}
        versions: list[VersionUse] = []
        counts = Counter(request.model for request in kept)
        for model, count in sorted(counts.items(), key=lambda each: each[0].key):
            refusal = ""
            try:
                for profile in profiles:
                    self._compile_kept(profile, model)
                models[model.key] = model
            except FormulaError as error:
                refusal = error.detail
            versions.append(VersionUse(model=model.name, version=model.version, requests=count, refusal=refusal))
        return models, tuple(versions)

    def _check(self, proposed: AnyProfile, segment_by: str | None) -> None:
        models = self._catalog.all()
        _fits_one([KeptModel.of(model.manifest, model.version) for model in models], proposed, self._compile_kept)
        known = sorted({name for model in models for name in segment_fields(model.manifest.features)})
        if segment_by is not None and segment_by not in known:
            raise InvalidField(
                f"requests cannot be told apart by {segment_by!r}",
                fix=f"name one of the request's fields: {', '.join(known) or 'there is none'}",
                path="/segment_by",
            )


def _with_weights(current: AnyProfile, weights: Mapping[str, float]) -> AnyProfile:
    if not isinstance(current, FusionProfile):
        raise FormulaError("a learned profile has no weights", fix="propose a whole profile", path="/weights")
    return current.model_copy(update={"weights": changed_weights(current.weights, weights)})


def _fits_one(models: Sequence[KeptModel], profile: AnyProfile, compile_kept: KeptCompiler) -> None:
    errors: list[FormulaError] = []
    for model in models:
        try:
            compile_kept(profile, model)
        except FormulaError as error:
            errors.append(error)
        else:
            return
    raise errors[0] if errors else FormulaError("no model is served to check the profile against")


def _some(requests: Sequence[KeptRequest], most: int) -> list[KeptRequest]:
    """Choose at random, in random order."""
    return [requests[row] for row in np.random.default_rng().permutation(len(requests))[:most]]
