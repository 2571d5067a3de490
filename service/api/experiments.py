"""``/v1/admin/experiments``: look at layers of experiments and change them while traffic flows."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from service.api.auth import AdminGate
from service.api.changing import Changing, changing, check_name, etag, parsed
from service.api.experiment_documents import assignment_document, deleted_document, history_of_layer, layer_document
from service.api.experiment_schemas import AssignmentList, LayerBody, LayerHistory, LayerList, LayerState
from service.api.schemas import json_body, problems
from service.errors import InvalidExperiment, InvalidField
from service.ranking.convergence import Convergence
from service.ranking.experiments.book import ExperimentBook
from service.ranking.experiments.editing import ExperimentEditor
from service.ranking.experiments.explaining import explain, units_of
from service.ranking.fusions import utc_now
from service.telemetry.metrics import Metrics

__all__ = ["experiments_router"]

_READS = problems(401, 403, 404, 503)
_WRITES: dict[int | str, dict[str, Any]] = {
    202: {"model": LayerState},
    **problems(400, 401, 403, 404, 409, 413, 422, 428, 503),
}


def experiments_router(
    *,
    gate: AdminGate,
    book: ExperimentBook,
    editor: ExperimentEditor,
    convergence: Convergence,
    metrics: Metrics,
    now: Callable[[], datetime] = utc_now,
) -> APIRouter:
    """Give the routes that experimenters use; who may change profiles may change experiments."""
    router = APIRouter(prefix="/v1/admin", tags=["experiments"])
    reading: dict[str, Any] = {"responses": _READS, "dependencies": [Depends(gate.needs("read"))]}
    Change = Annotated[  # noqa: N806 - a type
        Changing, Depends(changing(gate=gate, convergence=convergence, metrics=metrics))
    ]

    @router.get("/experiments", response_model=LayerList, **reading)
    async def every_layer() -> dict[str, Any]:
        """List the layers as they stand."""
        stale = book.stale()
        return {"layers": [layer_document(each, stale) for _, each in sorted(book.layers().items())]}

    @router.get("/experiments:assignment", response_model=AssignmentList, **reading)
    async def assignment(request: Request) -> dict[str, Any]:
        """Show where a unit is in every layer; the query names it as requests do, for example `?user_id=u1`."""
        units = dict(request.query_params)
        known = units_of(book.placing())
        if unknown := sorted(units.keys() - set(known)):
            raise InvalidField(
                f"no layer assigns by {unknown[0]!r}", fix=f"layers assign by: {', '.join(known) or 'nothing yet'}"
            )
        return assignment_document(units, explain(book.placing(), units, now()))

    @router.get("/experiments/{layer}", response_model=LayerState, **reading)
    async def one_layer(layer: str, response: Response) -> dict[str, Any]:
        """Show one layer as it stands; its ETag is what If-Match wants."""
        standing = book.layer(layer)
        response.headers["ETag"] = etag(standing.revision.revision)
        return layer_document(standing, book.stale())

    @router.get("/experiments/{layer}/history", response_model=LayerHistory, **reading)
    async def past_revisions(
        layer: str,
        before: Annotated[int | None, Query(ge=1)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        """Show who changed what, when and why, newest first; a layer that was taken away keeps its history."""
        return history_of_layer(layer, await editor.history(layer, before=before, limit=limit), limit)

    @router.put(
        "/experiments/{layer}", response_model=LayerState, responses=_WRITES, openapi_extra=json_body(LayerBody)
    )
    async def write_layer(layer: str, request: Request, change: Change) -> dict[str, Any]:
        """Write a new revision, whole; once this returns, the next request is assigned by it."""
        check_name(layer, refuse=InvalidExperiment)
        body = await parsed(request, LayerBody, refuse=InvalidExperiment)
        return await change(
            body.reason,
            lambda author: editor.put(layer, body.layer(), author),
            lambda standing: (standing.revision, layer_document(standing, {})),
        )

    @router.delete("/experiments/{layer}", response_model=LayerState, responses=_WRITES)
    async def delete_layer(
        layer: str, change: Change, reason: Annotated[str, Query(max_length=500)] = ""
    ) -> dict[str, Any]:
        """Take a layer away; its units are ranked as if it had never been, and its history stays."""
        return await change(
            reason,
            lambda author: editor.delete(layer, author),
            lambda revision: (revision, deleted_document(revision)),
        )

    return router
