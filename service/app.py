"""The composition root: settings in, a running app out. Nothing here is global."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector

from contract.bundle import Bundle
from contract.encoding import Encoder
from service.api.admin import AdminGate, admin_router
from service.api.decode import Decoder
from service.api.errors import install_error_handlers
from service.api.health import Lifecycle, health_router
from service.api.middleware import RequestMiddleware
from service.api.models import models_router
from service.api.preview import preview_router
from service.api.rank import rank_router
from service.ports import FusionStore
from service.ranking.fusions import DEFAULT_PROFILE, FusionBook
from service.ranking.preview import compile_kept
from service.ranking.preview_desk import PreviewDesk
from service.ranking.proposal import InForceProfile
from service.ranking.ranker import Ranker
from service.ranking.reservoir import Reservoir
from service.runtime.aside import Aside
from service.runtime.batcher import Batcher
from service.runtime.gate import check_golden, example_body
from service.runtime.model import LoadedModel
from service.runtime.onnx import OnnxRuntime
from service.runtime.registry import ModelRegistry
from service.runtime.threads import available_cores
from service.runtime.watcher import Watcher
from service.settings import Settings
from service.stores.items import read_items
from service.stores.memory import MemoryFusionStore
from service.stores.sqlite import SqliteFusionStore
from service.telemetry.metrics import Metrics

__all__ = ["Components", "build_components", "create_app", "load_bundle", "release"]

MEMORY = ":memory:"


def release() -> str:
    """Give the version of the installed package; ``0+unknown`` in a tree that was never installed."""
    try:
        return version("fulcrum-ranking")
    except PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True, kw_only=True)
class Components:
    """The parts that the app joins; a test may hand in its own."""

    metrics: Metrics
    store: FusionStore
    fusions: FusionBook
    registry: ModelRegistry
    reservoir: Reservoir
    aside: Aside
    lifecycle: Lifecycle


def build_components(settings: Settings) -> Components:
    """Build every part from the settings; nothing is opened or read yet."""
    prometheus = CollectorRegistry()
    ProcessCollector(registry=prometheus)
    metrics = Metrics(prometheus, version=release())
    store = open_fusion_store(settings.fusion_store)
    fusions = FusionBook(store)
    registry = ModelRegistry(
        settings.models_dir,
        load=bundle_loader(settings, metrics),
        accept=fusions.check_model,
        observer=metrics,
    )
    reservoir = Reservoir(max_requests=settings.preview_requests, max_rows=settings.preview_rows, clock=time.monotonic)
    metrics.watch(registry, lambda: fusions.profiles().values())
    metrics.watch_preview(lambda: reservoir.num_requests)
    return Components(
        metrics=metrics,
        store=store,
        fusions=fusions,
        registry=registry,
        reservoir=reservoir,
        aside=Aside(),
        lifecycle=Lifecycle(),
    )


def create_app(settings: Settings, components: Components | None = None) -> FastAPI:
    """Join the parts.

    Args:
        settings: What the operator set.
        components: The parts; built from the settings when None.
    """
    parts = components or build_components(settings)
    app = FastAPI(
        title="Fulcrum",
        version=release(),
        description="Ranks candidates with multi-task models and fuses their heads by a formula.",
        lifespan=_lifespan(settings, parts),
    )
    app.add_middleware(RequestMiddleware, metrics=parts.metrics, max_body_bytes=settings.max_body_bytes)
    install_error_handlers(app)
    _add_routes(app, settings, parts)
    return app


def open_fusion_store(location: str) -> FusionStore:
    """Give the store that *location* names."""
    return MemoryFusionStore() if location == MEMORY else SqliteFusionStore.open(Path(location))


def bundle_loader(settings: Settings, metrics: Metrics) -> Callable[[Bundle], LoadedModel]:
    """Give the function that opens a bundle, with its limits and threads bound."""
    threads = settings.threads or available_cores()

    def load(bundle: Bundle) -> LoadedModel:
        return load_bundle(settings, metrics, bundle, threads=threads)

    return load


def load_bundle(settings: Settings, metrics: Metrics, bundle: Bundle, *, threads: int) -> LoadedModel:
    """Open a bundle and hold it against its golden rows. Blocking.

    Raises:
        ModelRejected: When the graph or its answers differ from the manifest.
        ContractError: When the bundle itself cannot be read.
    """
    encoder = Encoder(bundle.manifest.features)
    runtime = OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=threads)
    golden = bundle.golden()
    check_golden(bundle, golden, encoder, runtime)
    batcher = Batcher(
        runtime.run,
        max_batch_rows=settings.max_batch_rows,
        max_waiting_rows=settings.max_waiting_rows,
        workers=1,
        clock=time.monotonic,
        observer=metrics,
    )
    return LoadedModel(
        bundle=bundle,
        encoder=encoder,
        items=read_items(bundle.items_path, encoder),
        runtime=runtime,
        batcher=batcher,
        example=example_body(bundle.manifest.name, golden),
    )


def _add_routes(app: FastAPI, settings: Settings, parts: Components) -> None:
    ranker = Ranker(
        catalog=parts.registry,
        fusions=parts.fusions,
        observer=parts.metrics,
        clock=time.monotonic,
        sampler=parts.reservoir,
    )
    decoder = Decoder(
        max_candidates=settings.max_candidates,
        default_deadline_ms=settings.default_deadline_ms,
        clock=time.monotonic,
    )
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    app.include_router(rank_router(ranker=ranker, decoder=decoder, metrics=parts.metrics))
    app.include_router(models_router(parts.registry))
    gate = AdminGate(token)
    app.include_router(admin_router(gate=gate, fusions=parts.fusions, catalog=parts.registry, metrics=parts.metrics))
    app.include_router(preview_router(gate=gate, desk=_preview_desk(parts)))
    app.include_router(
        health_router(
            registry=parts.registry,
            fusions=parts.fusions,
            metrics=parts.metrics,
            lifecycle=parts.lifecycle,
            version=release(),
        )
    )


def _preview_desk(parts: Components) -> PreviewDesk:
    def in_force(profile_name: str) -> InForceProfile:
        revision = parts.fusions.revision(profile_name)
        return InForceProfile(name=profile_name, revision=revision.revision, profile=revision.profile)

    return PreviewDesk(
        reservoir=parts.reservoir,
        in_force=in_force,
        compile_kept=compile_kept,
        catalog=parts.registry,
        run=parts.aside,
        observer=parts.metrics,
        clock=time.monotonic,
    )


def _lifespan(settings: Settings, parts: Components) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    async def refresh() -> None:
        await parts.registry.refresh()
        if DEFAULT_PROFILE not in parts.fusions.profiles():  # the first model may come after the start
            await parts.fusions.open(parts.registry.all())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, parts.store.close)
            stack.push_async_callback(parts.registry.aclose)
            stack.enter_context(parts.reservoir)
            stack.callback(parts.aside.close)
            await refresh()
            await stack.enter_async_context(Watcher(refresh, interval_s=settings.watch_interval_s))
            yield
            parts.lifecycle.drain()

    return lifespan
