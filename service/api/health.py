"""Probes, version and metrics."""

import platform
from dataclasses import dataclass
from typing import Any

import onnxruntime
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from service.api.schemas import Health, Version
from service.ranking.follower import Follower, FollowerState
from service.ranking.fusions import FusionBook
from service.runtime.registry import ModelRegistry
from service.telemetry.metrics import Metrics

__all__ = ["Lifecycle", "health_router"]


@dataclass
class Lifecycle:
    """Where the process stands between its start and its end."""

    draining: bool = False

    def drain(self) -> None:
        """Turn readiness red; what was accepted is still answered."""
        self.draining = True


def health_router(
    *,
    registry: ModelRegistry,
    fusions: FusionBook,
    follower: Follower,
    metrics: Metrics,
    lifecycle: Lifecycle,
    version: str,
) -> APIRouter:
    """Give the routes that machines look at."""
    router = APIRouter(tags=["operations"])

    @router.get("/livez", response_model=Health)
    async def livez() -> dict[str, Any]:
        """Say that the process answers; restart it when this fails."""
        return {"status": "alive"}

    @router.get("/readyz", response_model=Health, responses={503: {"model": Health}})
    async def readyz(response: Response) -> dict[str, Any]:
        """Say whether to send traffic: 200 when a model and a profile are there and the process is not draining.

        A store that is gone turns nothing red: the last good revisions serve.
        """
        status = _readiness(registry, fusions, lifecycle)
        response.status_code = 200 if status == "ready" else 503
        return {
            "status": status,
            "models": {model.manifest.name: model.version for model in registry.all()},
            "profiles": {name: each.revision.revision for name, each in fusions.profiles().items()},
            "rejected": dict(registry.rejections()),
            "store": _store_health(follower.state),
        }

    @router.get("/version", response_model=Version)
    async def show_version() -> dict[str, Any]:
        """Say what is running."""
        return {
            "version": version,
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
        }

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Give every metric in Prometheus's text format."""
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    return router


def _readiness(registry: ModelRegistry, fusions: FusionBook, lifecycle: Lifecycle) -> str:
    if lifecycle.draining:
        return "draining"
    return "ready" if registry.all() and fusions.profiles() else "not_ready"


def _store_health(state: FollowerState) -> dict[str, Any]:
    return {
        "up": state.is_up,
        "applied": state.applied,
        "problem": state.problem,
        "unreadable": dict(state.unreadable),
    }
