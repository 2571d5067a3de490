"""The composition root: settings in, a running app out. Nothing here is global."""

import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector

from contract.bundle import Bundle
from contract.encoding import Encoder
from service.api.admin import admin_router
from service.api.auth import AdminGate
from service.api.decode import Decoder
from service.api.errors import install_error_handlers
from service.api.health import Lifecycle, health_router
from service.api.middleware import RequestMiddleware
from service.api.models import model_admin_router, models_router
from service.api.rank import rank_router
from service.errors import PreconditionMissing, RevisionConflict, StoreUnavailable
from service.ranking.compiling import ProfileCompiler
from service.ranking.convergence import Convergence
from service.ranking.editing import Author, FusionEditor
from service.ranking.follower import Follower, FollowerState
from service.ranking.fusions import DEFAULT_PROFILE, FAMILY, FusionBook
from service.ranking.ranker import Ranker
from service.revisions import ProcessState, RevisionStore
from service.runtime.batcher import Batcher
from service.runtime.gate import check_golden, check_halves, example_body
from service.runtime.learned import FusionShelf
from service.runtime.model import LoadedModel
from service.runtime.onnx import OnnxRuntime
from service.runtime.preactivated import open_halves, preactivate
from service.runtime.registry import ModelRegistry
from service.runtime.threads import available_cores
from service.runtime.watcher import Watcher
from service.settings import Settings
from service.stores.items import read_items
from service.stores.last_good import LastGoodFile
from service.stores.opening import open_revision_store
from service.telemetry.logging import get_logger
from service.telemetry.metrics import Metrics
from service.tokens import AdminToken, Scope, digest_of, read_tokens

__all__ = ["Components", "build_components", "create_app", "load_bundle", "release"]


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
    store: RevisionStore
    fusions: FusionBook
    follower: Follower
    editor: FusionEditor
    registry: ModelRegistry
    lifecycle: Lifecycle


def build_components(settings: Settings) -> Components:
    """Build every part from the settings; nothing is opened or read yet."""
    prometheus = CollectorRegistry()
    ProcessCollector(registry=prometheus)
    metrics = Metrics(prometheus, version=release())
    store = open_revision_store(settings.fusion_store)
    shelf = FusionShelf(settings.fusions_dir) if settings.fusions_dir else None
    compile_profile = ProfileCompiler(shelf.load if shelf else None)
    fusions = FusionBook(compile_profile=compile_profile)
    registry = ModelRegistry(
        settings.models_dir,
        load=bundle_loader(settings, metrics),
        accept=fusions.check_model,
        observer=metrics,
    )
    follower = Follower(
        store=store,
        books=[fusions],
        process=this_process(),
        heartbeat_s=settings.heartbeat_s,
        on_change=lambda _: fusions.warm(registry.all()),
        memory=LastGoodFile(settings.last_good_file) if settings.last_good_file else None,
    )
    metrics.watch(registry, lambda: ((name, fusions.revision_of(FAMILY + name)) for name in fusions.profiles()))
    metrics.watch_store(lambda: _store_figures(follower.state))
    return Components(
        metrics=metrics,
        store=store,
        fusions=fusions,
        follower=follower,
        editor=FusionEditor(store=store, book=fusions, catalog=registry, compile_profile=compile_profile),
        registry=registry,
        lifecycle=Lifecycle(),
    )


def this_process() -> ProcessState:
    """Name this start of this process, as the others will see it."""
    return ProcessState(
        process_id=uuid.uuid4().hex[:12],
        host=socket.gethostname(),
        pid=os.getpid(),
        applied=0,
        seen_at=datetime.now(UTC),
    )


def _store_figures(state: FollowerState) -> tuple[bool, int, int]:
    return state.is_up, state.applied, len(state.unreadable)


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
    whole = OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=threads)
    golden = bundle.golden()
    check_golden(bundle, golden, encoder, whole)
    halves = open_halves(bundle, threads=threads) if settings.max_preactivation_mib else None
    if halves is not None:
        check_halves(bundle, golden, encoder, halves)
    items = read_items(bundle.items_path, encoder)
    runtime = preactivate(bundle, whole, halves, items.encoded, most_bytes=settings.max_preactivation_mib * 2**20)
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
        items=items,
        runtime=runtime,
        batcher=batcher,
        example=example_body(bundle.manifest.name, golden),
    )


def _add_routes(app: FastAPI, settings: Settings, parts: Components) -> None:
    ranker = Ranker(catalog=parts.registry, fusions=parts.fusions, observer=parts.metrics, clock=time.monotonic)
    decoder = Decoder(
        max_candidates=settings.max_candidates,
        default_deadline_ms=settings.default_deadline_ms,
        clock=time.monotonic,
    )
    app.include_router(rank_router(ranker=ranker, decoder=decoder, metrics=parts.metrics))
    app.include_router(models_router(parts.registry))
    gate = AdminGate(admin_tokens(settings))
    app.include_router(model_admin_router(registry=parts.registry, gate=gate))
    app.include_router(
        admin_router(
            gate=gate,
            fusions=parts.fusions,
            editor=parts.editor,
            convergence=Convergence(parts.store, clock=time.monotonic),
            metrics=parts.metrics,
        )
    )
    app.include_router(
        health_router(
            registry=parts.registry,
            fusions=parts.fusions,
            follower=parts.follower,
            metrics=parts.metrics,
            lifecycle=parts.lifecycle,
            version=release(),
        )
    )


def admin_tokens(settings: Settings) -> tuple[AdminToken, ...]:
    """Give every admin token: the one of the settings may do everything."""
    listed = read_tokens(settings.admin_tokens_file) if settings.admin_tokens_file else ()
    if settings.admin_token is None:
        return listed
    digest = digest_of(settings.admin_token.get_secret_value())
    everything: frozenset[Scope] = frozenset({"read", "fusion", "model"})
    return (AdminToken(name="admin", sha256=digest, scopes=everything), *listed)


def _lifespan(settings: Settings, parts: Components) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    async def refresh() -> None:
        await parts.registry.refresh()
        if DEFAULT_PROFILE not in parts.fusions.profiles() and parts.follower.state.is_up:
            await _write_first_profile(parts)  # the first model may come after the start

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(parts.follower.stop)
            stack.push_async_callback(parts.registry.aclose)
            await parts.follower.start()
            await refresh()
            await stack.enter_async_context(Watcher(refresh, interval_s=settings.watch_interval_s))
            yield
            parts.lifecycle.drain()

    return lifespan


async def _write_first_profile(parts: Components) -> None:
    """Give a new store the profile that the first model brings, unless another process has just done so."""
    models = parts.registry.all()
    if not models:
        return
    name = models[0].manifest.name
    author = Author(name="bundle", reason=f"first start: the profile of model {name} version {models[0].version}")
    try:
        await parts.editor.put(DEFAULT_PROFILE, models[0].manifest.fusion, author)
    except (RevisionConflict, PreconditionMissing):
        get_logger().info("first_profile", result="another process wrote it")
    except StoreUnavailable as error:
        get_logger().warning("first_profile", result="not kept", problem=error.detail)
