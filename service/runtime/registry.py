"""The models that are served: loaded, gated, swapped whole. What fails the gate changes nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from contract.bundle import Bundle, bundle_names, bundle_versions, read_bundle
from contract.errors import ContractError
from service.errors import ModelRejected, NotReady, ServiceError, UnknownModel
from service.runtime.model import LoadedModel

__all__ = ["ModelRegistry", "SwapObserver"]

_log = structlog.get_logger(__name__)


class SwapObserver(Protocol):
    """Told what became of a new version."""

    def observe_swap(self, *, result: str) -> None:
        """Record ``loaded`` or ``rejected``."""
        ...


class ModelRegistry:
    """Serves the newest good version of every model in a folder.

    Args:
        folder: ``<folder>/<name>/<version>/``.
        load: Opens a bundle and checks its golden rows; blocking.
        accept: May refuse a new version in place of the old one (None at first); raises ModelRejected.
        observer: Told of every swap.
    """

    def __init__(
        self,
        folder: Path,
        *,
        load: Callable[[Bundle], LoadedModel],
        accept: Callable[[LoadedModel, LoadedModel | None], None],
        observer: SwapObserver,
    ) -> None:
        self._folder = folder
        self._load = load
        self._accept = accept
        self._observer = observer
        self._models: dict[str, LoadedModel] = {}
        self._rejected: dict[tuple[str, int], str] = {}
        self._refreshing = asyncio.Lock()

    def current(self, name: str | None) -> LoadedModel:
        """Give a snapshot of a model; see :class:`service.ports.ModelCatalog`."""
        models = self._models
        if not models:
            raise NotReady("no model is loaded", fix="publish a bundle into the models folder")
        if name is None and len(models) == 1:
            return next(iter(models.values()))
        if name is None or name not in models:
            what = "several models are served" if name is None else f"there is no model {name!r}"
            raise UnknownModel(what, fix=f"name one of: {', '.join(sorted(models))}", path="/model")
        return models[name]

    def all(self) -> Sequence[LoadedModel]:
        """Give every served model, by name."""
        return [model for _, model in sorted(self._models.items())]

    def rejections(self) -> Mapping[str, str]:
        """Give what was refused and why, as ``name/version`` to a sentence."""
        return {f"{name}/{version}": why for (name, version), why in sorted(self._rejected.items())}

    async def refresh(self, *, again: bool = False) -> None:
        """Load every version that is newer than what serves.

        Args:
            again: Gives versions that were refused before another chance.
        """
        async with self._refreshing:
            if again:
                self._rejected.clear()
            await self._look()

    async def _look(self) -> None:
        for name in await asyncio.to_thread(bundle_names, self._folder):
            for version in reversed(await asyncio.to_thread(bundle_versions, self._folder, name)):
                serving = self._models.get(name)
                if serving is not None and serving.version >= version:
                    break
                if (name, version) not in self._rejected and await self._try(name, version):
                    break

    async def aclose(self) -> None:
        """Drain and free every model."""
        for model in self.all():
            await model.aclose()

    async def _try(self, name: str, version: int) -> bool:
        try:
            model = await asyncio.to_thread(self._open, name, version)
            self._accept(model, self._models.get(name))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one bundle must not stop the others
            self._reject(name, version, error)
            return False
        # One assignment: a request sees the old catalogue or the new one, never a mixture. The old model is not
        # closed: requests that hold it finish on it, and with the last of them its graph and threads go.
        self._models = {**self._models, name: model}
        self._observer.observe_swap(result="loaded")
        _log.info("model_loaded", model=name, version=version)
        return True

    def _reject(self, name: str, version: int, error: Exception) -> None:
        reason = error.detail if isinstance(error, ServiceError | ContractError) else f"{type(error).__name__}: {error}"
        self._rejected[name, version] = reason
        self._observer.observe_swap(result="rejected")
        _log.warning("model_rejected", model=name, version=version, reason=reason)

    def _open(self, name: str, version: int) -> LoadedModel:
        bundle = read_bundle(self._folder / name / str(version))
        if bundle.manifest.name != name:
            raise ModelRejected(
                f"the manifest in {bundle.path} is of {bundle.manifest.name!r}",
                fix="move it to its own folder",
            )
        return self._load(bundle)
