"""The fusion profiles in force: read from the store, compiled once a model, asked by every request without a lock."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from contract.errors import FormulaError
from contract.fusion import AnyProfile
from contract.plan import FusionPlan
from service.errors import ModelRejected, ProfileMismatch, UnknownProfile
from service.ports import FusionCompiler, InForce, Scorer, ServedModel
from service.ranking.revising import read_document
from service.revisions import Revision

__all__ = ["DEFAULT_PROFILE", "FAMILY", "FusionBook", "Standing", "utc_now"]

DEFAULT_PROFILE = "default"
FAMILY = "fusion/"
_Key = tuple[str, int, str, str, int]


def utc_now() -> datetime:
    """Give the time of day; schedules and temporary changes are held against it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A profile as it stands: its newest revision that could be read."""

    revision: Revision
    plan: FusionPlan

    @property
    def profile_name(self) -> str:
        """Name of the profile, as requests say it."""
        return self.revision.name.removeprefix(FAMILY)


class FusionBook:
    """Answers "which fusion now?" from memory.

    Args:
        compile_profile: Makes a profile ready to run on a model.
        now: Time of day.
    """

    family = FAMILY

    def __init__(self, *, compile_profile: FusionCompiler, now: Callable[[], datetime] = utc_now) -> None:
        self._compile_profile = compile_profile
        self._now = now
        self._standing: Mapping[str, Standing] = {}
        self._compiled: dict[_Key, Scorer | FormulaError] = {}
        self._applying = Lock()

    def apply(self, revision: Revision, *, replace: bool = False) -> None:
        """Put a revision in force, unless a newer one of its name is; called from any thread.

        Args:
            replace: Puts it in force whatever its number: a store that came back may have lost its last changes, and
                what it has then is what every process has to agree on.

        Raises:
            UnreadableDocument: When it cannot be read; what stood before stays in force.
        """
        with self._applying:
            known = self._standing.get(revision.name.removeprefix(FAMILY))
            if known is not None and known.revision.sequence >= revision.sequence and not replace:
                return
            standing = Standing(revision=revision, plan=read_document(revision, FusionPlan))
            # One assignment: a request sees the old revision or the new one, never a mixture.
            self._standing = {**self._standing, standing.profile_name: standing}
            self._forget(standing)

    def revision_of(self, name: str) -> int:
        """Give the revision of a document that is in force; 0 where there is none."""
        standing = self._standing.get(name.removeprefix(FAMILY))
        return 0 if standing is None else standing.revision.revision

    def profiles(self) -> Mapping[str, Standing]:
        """Give every profile as it stands, by name."""
        return self._standing

    def standing(self, profile_name: str) -> Standing:
        """Give one profile as it stands.

        Raises:
            UnknownProfile: When there is no such profile.
        """
        try:
            return self._standing[profile_name]
        except KeyError:
            raise UnknownProfile(
                f"there is no fusion profile {profile_name!r}",
                fix=f"known: {', '.join(sorted(self._standing)) or 'none yet'}",
                path="/profile",
            ) from None

    def in_force(self, profile_name: str) -> tuple[Standing, str, AnyProfile]:
        """Give what a profile ranks by at this moment: how it stands, the variant, and what that says.

        Raises:
            UnknownProfile: When there is no such profile.
        """
        standing = self.standing(profile_name)
        return standing, *standing.plan.in_force(self._now())

    def current(self, profile_name: str, model: ServedModel) -> InForce:
        """Give a snapshot; see :class:`service.ports.FusionSource`."""
        standing, variant, profile = self.in_force(profile_name)
        compiled = self._compile(standing, variant, profile, model)
        if isinstance(compiled, FormulaError):
            raise ProfileMismatch(
                f"profile {profile_name!r} does not fit model {model.manifest.name!r}: {compiled.detail}",
                fix="name another profile or another model",
                path="/profile",
            )
        return InForce(profile=profile_name, revision=standing.revision.revision, variant=variant, fusion=compiled)

    def warm(self, models: Iterable[ServedModel]) -> None:
        """Compile what stands for every model ahead of the first request; blocking, called off the event loop."""
        for standing in self._standing.values():
            for variant, profile in standing.plan.without_past(self._now()).variants():
                for model in models:
                    self._compile(standing, variant, profile, model)

    def check_model(self, model: ServedModel, replaced: ServedModel | None) -> None:
        """Refuse a new version under which a profile that works today would stop to, now or in a window to come.

        Raises:
            ModelRejected: Naming the profile.
        """
        if replaced is None:
            return
        for standing in self._standing.values():
            for variant, profile in standing.plan.without_past(self._now()).variants():
                worked = not isinstance(self._compile(standing, variant, profile, replaced), FormulaError)
                compiled = self._compile(standing, variant, profile, model)
                if worked and isinstance(compiled, FormulaError):
                    raise ModelRejected(
                        f"the live profile {standing.profile_name!r} ({variant}) would break: {compiled.detail}",
                        fix="change the profile first, or publish a version that keeps the head",
                    )

    def _compile(
        self, standing: Standing, variant: str, profile: AnyProfile, model: ServedModel
    ) -> Scorer | FormulaError:
        name, revision = standing.profile_name, standing.revision.revision
        key = (name, revision, variant, model.manifest.name, model.version)
        if key not in self._compiled:
            try:
                self._compiled[key] = self._compile_profile(profile, model)
            except FormulaError as error:
                self._compiled[key] = error
        return self._compiled[key]

    def _forget(self, kept: Standing) -> None:
        stale = [key for key in list(self._compiled) if key[0] == kept.profile_name]
        for key in stale:
            self._compiled.pop(key, None)
