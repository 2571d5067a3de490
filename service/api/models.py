"""``/v1/models``: what is served, and a body to try it with."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from contract.features import AnyField
from service.api.auth import AdminGate, Caller
from service.api.schemas import ModelList, ModelSummary, ModelVersions, RankRequest, problems
from service.runtime.model import LoadedModel
from service.runtime.registry import ModelRegistry
from service.telemetry.logging import get_logger

__all__ = ["model_admin_router", "models_router"]


def models_router(registry: ModelRegistry) -> APIRouter:
    """Give the routes that show the served models."""
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("", response_model=ModelList)
    async def every_model() -> dict[str, Any]:
        """List the served models with their heads and fields."""
        return {"models": [_summary(model) for model in registry.all()]}

    @router.get("/{name}", response_model=ModelSummary, responses=problems(404, 422, 503))
    async def one_model(name: str) -> dict[str, Any]:
        """Show one served model."""
        return _summary(registry.current(name))

    @router.get(
        "/{name}/example",
        response_model=None,
        responses={200: {"model": RankRequest}, **problems(404, 422, 503)},
    )
    async def example(name: str) -> dict[str, Any]:
        """Give a complete body for /v1/rank, made from the model's golden rows."""
        return registry.current(name).example

    return router


def model_admin_router(*, registry: ModelRegistry, gate: AdminGate) -> APIRouter:
    """Give the route that looks for new versions at once."""
    router = APIRouter(prefix="/v1/admin/models", tags=["admin"])

    @router.post("/refresh", response_model=ModelVersions, responses=problems(401, 403))
    async def refresh(caller: Annotated[Caller, Depends(gate.needs("model"))]) -> dict[str, Any]:
        """Look for new bundles now; versions that were refused before get another chance."""
        await registry.refresh(again=True)
        versions = {model.manifest.name: model.version for model in registry.all()}
        get_logger().info("audit", who=caller.name, method="POST", path="/v1/admin/models/refresh", models=versions)
        return {"models": versions, "rejected": dict(registry.rejections())}

    return router


def _summary(model: LoadedModel) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": model.version,
        "architecture": manifest.architecture,
        "heads": [{"name": head.name, "unit": head.unit, "task": head.task} for head in manifest.heads],
        "fields": [_field(field) for field in manifest.features.fields],
        "metrics": manifest.metrics,
        "created_at": manifest.provenance.created_at.isoformat(),
    }


def _field(field: AnyField) -> dict[str, Any]:
    """Say what a request has to send for a field."""
    lengths = {"sequence": "max_length", "vector": "dim"}
    return {
        "name": field.name,
        "side": field.side,
        "kind": field.kind,
        "values": getattr(field, "dtype", "float"),
        "length": getattr(field, lengths[field.kind]) if field.kind in lengths else None,
    }
