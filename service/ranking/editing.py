"""Changes of fusion profiles: checked, kept with who and why, and in force before the writer hears of it."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from contract.errors import FormulaError
from contract.formula.units import FormulaWarning, check_units
from contract.fusion import AnyProfile, FusionProfile
from contract.plan import FusionPlan, Schedule, Temporary
from contract.tasks import Unit
from contract.weights import changed_weights
from service.errors import InvalidProfile, UnknownRevision
from service.ports import FusionCompiler, ModelCatalog
from service.ranking.fusions import FAMILY, FusionBook, Standing, utc_now
from service.ranking.revising import Author, conflict, keep, read_document, told, unseen
from service.revisions import Action, Revision, RevisionStore

__all__ = ["FusionEditor"]


class FusionEditor:
    """Writes revisions of fusion profiles.

    Args:
        store: Where they are kept.
        book: Where they are in force.
        catalog: The models that a profile has to fit one of.
        compile_profile: Tells whether it does.
        now: Time of day.
    """

    def __init__(
        self,
        *,
        store: RevisionStore,
        book: FusionBook,
        catalog: ModelCatalog,
        compile_profile: FusionCompiler,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._book = book
        self._catalog = catalog
        self._compile_profile = compile_profile
        self._now = now

    async def put(self, name: str, profile: AnyProfile, author: Author, *, ttl_s: float | None = None) -> Standing:
        """Write a profile: as the base, or for *ttl_s* seconds, after which the base comes back.

        Raises:
            FormulaError: When no served model can use it.
            PreconditionMissing: When the profile exists and the author has not said which revision it saw.
            RevisionConflict: When someone else has changed it meanwhile.
            StoreUnavailable: When it could not be kept; what was in force stays.
        """
        is_new = author.saw is None and name not in self._book.profiles()
        if is_new and ttl_s is not None:
            raise InvalidProfile("a new profile has nothing to come back to", fix="write it without ttl_s first")
        plan = FusionPlan(profile=profile) if is_new else (await self._seen(name, author)).plan
        return await self._keep(name, self._with(plan, profile, ttl_s), author, action="put")

    async def set_weights(
        self, name: str, values: Mapping[str, float], author: Author, *, ttl_s: float | None = None
    ) -> Standing:
        """Turn weights of what is in force outside of schedules, each within its own bounds.

        Raises:
            FormulaError: When a weight is unknown or its value is not allowed.
        """
        plan = (await self._existing(name, author)).plan
        passing = plan.temporary if plan.temporary and self._now() < plan.temporary.until else None
        profile = passing.profile if passing else plan.profile
        if not isinstance(profile, FusionProfile):
            raise InvalidProfile("a learned profile has no weights", fix="write another version of it")
        turned = profile.model_copy(update={"weights": changed_weights(profile.weights, values)})
        if passing and ttl_s is None:
            ttl_s = (passing.until - self._now()).total_seconds()
        return await self._keep(name, self._with(plan, turned, ttl_s), author, action="weights")

    async def roll_back(self, name: str, author: Author, *, to: int | None = None) -> Standing:
        """Write an earlier revision again, whole; the one before the newest where *to* is None."""
        standing = await self._existing(name, author)
        newest = standing.revision.revision
        earlier = await self.revision(name, newest - 1 if to is None else to)
        if earlier.revision >= newest:
            raise UnknownRevision(f"revision {to} of {name!r} is the newest", fix="name an earlier one")
        note = f"to revision {earlier.revision}" + (f": {author.reason}" if author.reason else "")
        plan = read_document(earlier, FusionPlan).without_past(self._now())
        return await self._keep(name, plan, replace(author, reason=note), action="rollback")

    async def schedule(self, name: str, schedule: Schedule, author: Author) -> Standing:
        """Give a window in which another profile takes over; one of the same name is replaced.

        Raises:
            InvalidProfile: When the window is over already or meets another one.
        """
        plan = (await self._existing(name, author)).plan
        if schedule.ends_at <= self._now():
            raise InvalidProfile("the window is over already", fix="give an ends_at in the future", path="/ends_at")
        others = [each for each in plan.schedules if each.name != schedule.name]
        return await self._keep(name, _scheduled(plan, [*others, schedule]), author, action="schedule")

    async def cancel(self, name: str, schedule_name: str, author: Author) -> Standing:
        """Take a window away, also while it is open."""
        plan = (await self._existing(name, author)).plan
        kept = [each for each in plan.schedules if each.name != schedule_name]
        if len(kept) == len(plan.schedules):
            known = ", ".join(each.name for each in plan.schedules) or "none"
            raise UnknownRevision(f"{name!r} has no schedule {schedule_name!r}", fix=f"its schedules are: {known}")
        return await self._keep(name, _scheduled(plan, kept), author, action="cancel")

    async def history(self, name: str, *, before: int | None, limit: int) -> Sequence[Revision]:
        """Give the revisions of a profile, newest first, with one more than asked for to compare with."""
        self._book.standing(name)
        return await asyncio.to_thread(self._store.history, FAMILY + name, before=before, limit=limit + 1)

    async def revision(self, name: str, number: int) -> Revision:
        """Give one revision of a profile.

        Raises:
            UnknownRevision: When there is none, or it can no longer be read.
        """
        self._book.standing(name)
        found = await asyncio.to_thread(self._store.history, FAMILY + name, before=number + 1, limit=1)
        if not found or found[0].revision != number:
            raise UnknownRevision(f"{name!r} has no revision {number}", fix="look at its history")
        return found[0]

    def warnings(self, plan: FusionPlan) -> Iterator[tuple[str, FormulaWarning]]:
        """Give what a plan's formulas run with but probably do not mean, each with its variant."""
        for variant, profile in plan.without_past(self._now()).variants():
            if isinstance(profile, FusionProfile):
                for warning in check_units(profile.formula, self._units(profile)):
                    yield variant, warning

    def _units(self, profile: FusionProfile) -> Mapping[str, Unit]:
        """Give the units of the heads of a model that the profile fits."""
        for model in self._catalog.all():
            with contextlib.suppress(FormulaError):
                self._compile_profile(profile, model)
                return {head.name: head.unit for head in model.manifest.heads}
        return {}

    def _check(self, plan: FusionPlan) -> None:
        for variant, profile in plan.without_past(self._now()).variants():
            self.fits(profile, path="" if variant == "base" else f"/{variant}")

    def fits(self, profile: AnyProfile, *, path: str = "") -> None:
        """Check that a served model can use a profile.

        Raises:
            FormulaError: When none can.
        """
        errors: list[FormulaError] = []
        for model in self._catalog.all():
            try:
                self._compile_profile(profile, model)
            except FormulaError as error:
                errors.append(error)
            else:
                return
        worst = errors[0] if errors else FormulaError("no model is served to check the formula against")
        worst.path = path + worst.path
        raise worst

    def _with(self, plan: FusionPlan, profile: AnyProfile, ttl_s: float | None) -> FusionPlan:
        now = self._now()
        plan = plan.without_past(now)
        if ttl_s is None:
            return plan.model_copy(update={"profile": profile, "temporary": None})
        passing = Temporary(until=now + timedelta(seconds=ttl_s), profile=profile)
        return plan.model_copy(update={"temporary": passing})

    async def _existing(self, name: str, author: Author) -> Standing:
        self._book.standing(name)
        return await self._seen(name, author)

    async def _seen(self, name: str, author: Author) -> Standing:
        """Give the profile as the author saw it."""
        if author.saw is None:
            raise unseen(repr(name), self._book.standing(name).revision.revision)
        standing = self._book.profiles().get(name)
        if standing is not None and standing.revision.revision == author.saw:
            return standing
        return await self._from_store(name, author)

    async def _from_store(self, name: str, author: Author) -> Standing:
        """Look again where another process may have written: this one's book can be a moment behind."""
        newest = next(iter(await asyncio.to_thread(self._store.history, FAMILY + name, limit=1)), None)
        if newest is None or newest.revision != author.saw:
            raise conflict(FAMILY + name, author, newest)
        self._book.apply(newest)
        return self._book.standing(name)

    async def _keep(self, name: str, plan: FusionPlan, author: Author, *, action: Action) -> Standing:
        # In a thread: a learned profile is loaded and held against its golden rows to be checked.
        await asyncio.to_thread(self._check, plan)
        document, expected = plan.model_dump_json(), author.saw or 0
        change = author.change(FAMILY + name, document, expected=expected, action=action)
        return Standing(revision=await keep(self._store, self._book, change), plan=plan)


def _scheduled(plan: FusionPlan, schedules: Sequence[Schedule]) -> FusionPlan:
    ordered = sorted(schedules, key=lambda each: each.starts_at)
    try:
        return FusionPlan(profile=plan.profile, temporary=plan.temporary, schedules=tuple(ordered))
    except ValidationError as error:
        raise InvalidProfile(
            told(error), fix="move one of the windows, or cancel it first", path="/starts_at"
        ) from None
