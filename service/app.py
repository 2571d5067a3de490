"""The composition root: parts in, a running app out."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from service.api.admin import admin_router
from service.api.auth import AdminGate
from service.api.bodies import BodyReader
from service.api.decode import Decoder
from service.api.errors import install_error_handlers
from service.api.experiments import experiments_router
from service.api.health import health_router
from service.api.middleware import RequestMiddleware
from service.api.models import model_admin_router, models_router
from service.api.preview import preview_router
from service.api.rank import rank_router
from service.components import Components, build_components, preview_desk, release
from service.errors import PreconditionMissing, RevisionConflict, StoreUnavailable
from service.ranking.convergence import Convergence
from service.ranking.fusions import DEFAULT_PROFILE
from service.ranking.ranker import Ranker
from service.ranking.revising import Author
from service.runtime.watcher import Watcher
from service.settings import Settings
from service.telemetry.logging import get_logger
from service.tokens import AdminToken, Scope, digest_of, read_tokens

__all__ = ["create_app"]


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


def _add_routes(app: FastAPI, settings: Settings, parts: Components) -> None:
    ranker = Ranker(
        catalog=parts.registry,
        fusions=parts.fusions,
        observer=parts.metrics,
        clock=time.monotonic,
        sampler=parts.reservoir,
        experiments=parts.experiments.chooser,
    )
    decoder = Decoder(
        max_candidates=settings.max_candidates,
        default_deadline_ms=settings.default_deadline_ms,
        clock=time.monotonic,
    )
    read = BodyReader(max_bytes=settings.max_body_bytes)
    app.include_router(rank_router(ranker=ranker, decoder=decoder, read=read, metrics=parts.metrics))
    app.include_router(models_router(parts.registry))
    gate = AdminGate(admin_tokens(settings))
    app.include_router(model_admin_router(registry=parts.registry, gate=gate))
    convergence = Convergence(parts.store, clock=time.monotonic)
    app.include_router(
        admin_router(
            gate=gate,
            fusions=parts.fusions,
            editor=parts.editor,
            convergence=convergence,
            metrics=parts.metrics,
        )
    )
    app.include_router(
        experiments_router(
            gate=gate,
            book=parts.experiments.book,
            editor=parts.experiments.editor,
            convergence=convergence,
            metrics=parts.metrics,
        )
    )
    app.include_router(preview_router(gate=gate.needs("read"), desk=preview_desk(parts)))
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
            stack.enter_context(parts.reservoir)
            stack.push_async_callback(parts.aside.aclose)
            stack.push_async_callback(parts.experiments.shadows.aclose)
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
