"""Where operators ask for a preview: checks what is proposed, and works out one answer at a time."""

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from contract.errors import FormulaError
from contract.fusion import AnyProfile, Fusion, FusionProfile, compile_fusion
from contract.weights import changed_weights
from service.errors import InvalidField, PreviewBusy
from service.ports import Clock, ModelCatalog, ServedModel
from service.ranking.kept import KeptModel, segment_fields
from service.ranking.preview import Pair, Preview, PreviewQuestion, preview
from service.ranking.reservoir import Reservoir, Snapshot

__all__ = ["PreviewAnswer", "PreviewDesk", "PreviewObserver", "Proposal"]

BUDGET_S = 10.0
_RETRY_AFTER_S = 1.0


class PreviewObserver(Protocol):
    """Told how long each preview took."""

    def observe_preview(self, *, seconds: float) -> None:
        """Record one."""
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
class PreviewAnswer:
    """A preview, and what was compared.

    Args:
        revision: Of the profile in force.
        is_sampling: False where no requests are ever kept here.
    """

    profile_name: str
    revision: int
    current: AnyProfile
    proposed: AnyProfile
    top_k: int
    is_sampling: bool
    preview: Preview


class PreviewDesk:
    """Answers previews.

    Args:
        reservoir: Where recent requests are kept.
        in_force: Gives the revision and the profile in force under a name; raises UnknownProfile.
        compile_profile: Makes a profile ready to run on a served model; raises FormulaError.
        catalog: The served models.
        observer: Told of every preview.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        reservoir: Reservoir,
        in_force: Callable[[str], tuple[int, AnyProfile]],
        compile_profile: Callable[[AnyProfile, ServedModel], Fusion],
        catalog: ModelCatalog,
        observer: PreviewObserver,
        clock: Clock,
    ) -> None:
        self._reservoir = reservoir
        self._in_force = in_force
        self._compile_profile = compile_profile
        self._catalog = catalog
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
        """
        revision, current = self._in_force(profile_name)
        proposed = proposal.profile or _with_weights(current, proposal.weights)
        self._check(proposed, proposal.segment_by)
        question = PreviewQuestion(
            profile=profile_name,
            pair=lambda model: Pair(before=self._compiled(current, model), after=self._compiled(proposed, model)),
            top_k=proposal.top_k,
            segment_by=proposal.segment_by,
            max_requests=proposal.max_requests,
            budget_s=BUDGET_S,
        )
        return PreviewAnswer(
            profile_name=profile_name,
            revision=revision,
            current=current,
            proposed=proposed,
            top_k=proposal.top_k,
            is_sampling=self._reservoir.is_on,
            preview=await self._run(question, self._reservoir.snapshot()),
        )

    async def _run(self, question: PreviewQuestion, snapshot: Snapshot) -> Preview:
        if not self._busy.acquire(blocking=False):
            raise PreviewBusy(
                "another preview is running", fix="try again when it is done", retry_after_s=_RETRY_AFTER_S
            )
        begin = self._clock()
        source = random.Random()  # noqa: S311 - a sample, not a secret
        running = self._thread.submit(preview, question, snapshot, clock=self._clock, source=source)
        # Not in a `finally`: a caller that leaves does not end the thread.
        running.add_done_callback(lambda _: self._busy.release())
        found = await asyncio.wrap_future(running)
        self._observer.observe_preview(seconds=self._clock() - begin)
        return found

    def _check(self, proposed: AnyProfile, segment_by: str | None) -> None:
        models = self._catalog.all()
        _compiles_somewhere(proposed, models, self._compile_profile)
        known = sorted({name for model in models for name in segment_fields(model.manifest.features)})
        if segment_by is not None and segment_by not in known:
            raise InvalidField(
                f"requests cannot be told apart by {segment_by!r}",
                fix=f"name one of the request's fields: {', '.join(known) or 'there is none'}",
                path="/segment_by",
            )

    def _compiled(self, profile: AnyProfile, kept: KeptModel) -> Fusion:
        """Compile for a version, which may have been swapped away since; a bad score must not end a preview."""
        lenient = profile.model_copy(update={"non_finite": "bottom"})
        for model in self._catalog.all():
            if (model.manifest.name, model.version) == (kept.name, kept.version):
                return self._compile_profile(lenient, model)
        if isinstance(lenient, FusionProfile):
            return compile_fusion(lenient, kept.variables)
        raise FormulaError("a learned profile needs the model, and this version is no longer served")


def _with_weights(current: AnyProfile, weights: Mapping[str, float]) -> AnyProfile:
    if not isinstance(current, FusionProfile):
        raise FormulaError("a learned profile has no weights", fix="propose a whole profile", path="/weights")
    return current.model_copy(update={"weights": changed_weights(current.weights, weights)})


def _compiles_somewhere(
    profile: AnyProfile, models: Sequence[ServedModel], compile_profile: Callable[[AnyProfile, ServedModel], Fusion]
) -> None:
    errors: list[FormulaError] = []
    for model in models:
        try:
            compile_profile(profile, model)
        except FormulaError as error:
            errors.append(error)
        else:
            return
    raise errors[0] if errors else FormulaError("no model is served to check the formula against")
