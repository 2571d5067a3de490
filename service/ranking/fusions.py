"""The fusion profiles in force: written once to the store, compiled once a model, read without a lock."""

import asyncio
from collections.abc import Mapping, Sequence

from contract.errors import FormulaError
from contract.fusion import Fusion, FusionProfile, compile_fusion
from service.errors import ModelRejected, ProfileMismatch, UnknownProfile
from service.ports import FusionRevision, FusionStore, ServedModel

__all__ = ["DEFAULT_PROFILE", "FusionBook"]

DEFAULT_PROFILE = "default"
_CompiledKey = tuple[str, int, str, int]


class FusionBook:
    """Answers "which fusion now?" from memory, and lets operators change it.

    Args:
        store: Where revisions live.
    """

    def __init__(self, store: FusionStore) -> None:
        self._store = store
        self._profiles: Mapping[str, FusionRevision] = {}
        self._compiled: dict[_CompiledKey, Fusion | FormulaError] = {}
        self._writing = asyncio.Lock()

    async def open(self, models: Sequence[ServedModel]) -> None:
        """Read the store; give it the models' own default profile when it has none."""
        self._profiles = dict(await asyncio.to_thread(self._store.latest))
        if DEFAULT_PROFILE not in self._profiles and models:
            await self.write(DEFAULT_PROFILE, models[0].manifest.fusion, models)

    def profiles(self) -> Mapping[str, FusionRevision]:
        """Give the revision in force of every profile."""
        return self._profiles

    def revision(self, profile_name: str) -> FusionRevision:
        """Give the revision in force of one profile.

        Raises:
            UnknownProfile: When there is no such profile.
        """
        try:
            return self._profiles[profile_name]
        except KeyError:
            raise UnknownProfile(
                f"there is no fusion profile {profile_name!r}",
                fix=f"known: {', '.join(sorted(self._profiles)) or 'none yet'}",
                path="/profile",
            ) from None

    def current(self, profile_name: str, model: ServedModel) -> tuple[FusionRevision, Fusion]:
        """Give a snapshot; see :class:`service.ports.FusionSource`."""
        revision = self.revision(profile_name)
        compiled = self._compile(revision, model)
        if isinstance(compiled, FormulaError):
            raise ProfileMismatch(
                f"profile {profile_name!r} does not fit model {model.manifest.name!r}: {compiled.detail}",
                fix="name another profile or another model",
                path="/profile",
            )
        return revision, compiled

    async def write(self, profile_name: str, profile: FusionProfile, models: Sequence[ServedModel]) -> FusionRevision:
        """Check a profile, keep it durably and put it in force; the next request uses it.

        Raises:
            FormulaError: When no served model can use it.
            StoreUnavailable: When it could not be kept; the revision before stays in force.
        """
        _compiles_somewhere(profile, models)
        # Shielded: a caller that leaves between the two steps must not leave a kept revision out of force.
        return await asyncio.shield(self._put_in_force(profile_name, profile))

    async def _put_in_force(self, profile_name: str, profile: FusionProfile) -> FusionRevision:
        async with self._writing:
            revision = await asyncio.to_thread(self._store.append, profile_name, profile)
            # One assignment: a request sees the old revision or the new one, never a mixture.
            self._profiles = {**self._profiles, profile_name: revision}
            self._forget(profile_name, revision.revision)
        return revision

    def check_model(self, model: ServedModel, replaced: ServedModel | None) -> None:
        """Refuse a new version under which a profile that works today would stop to.

        Raises:
            ModelRejected: Naming the profile.
        """
        for revision in self._profiles.values():
            compiled = self._compile(revision, model)
            worked = replaced is not None and isinstance(self._compile(revision, replaced), Fusion)
            if worked and isinstance(compiled, FormulaError):
                raise ModelRejected(
                    f"the live profile {revision.profile_name!r} would break: {compiled.detail}",
                    fix="change the profile first, or publish a version that keeps the head",
                )

    def _compile(self, revision: FusionRevision, model: ServedModel) -> Fusion | FormulaError:
        key = (revision.profile_name, revision.revision, model.manifest.name, model.version)
        if key not in self._compiled:
            try:
                self._compiled[key] = compile_fusion(revision.profile, model.manifest.formula_variables())
            except FormulaError as error:
                self._compiled[key] = error
        return self._compiled[key]

    def _forget(self, profile_name: str, kept: int) -> None:
        stale = [key for key in self._compiled if key[0] == profile_name and key[1] != kept]
        for key in stale:
            del self._compiled[key]


def _compiles_somewhere(profile: FusionProfile, models: Sequence[ServedModel]) -> None:
    errors: list[FormulaError] = []
    for model in models:
        try:
            compile_fusion(profile, model.manifest.formula_variables())
        except FormulaError as error:
            errors.append(error)
        else:
            return
    raise errors[0] if errors else FormulaError("no model is served to check the formula against")
