"""``/v1/admin/fusion``: look at fusion profiles and change them while traffic flows."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError

from contract.plan import Schedule
from service.api.auth import AdminGate
from service.api.changing import Changing, changing, check_name, etag, parsed
from service.api.fusion_documents import state_document
from service.api.fusion_schemas import (
    ConvergenceDocument,
    FusionBody,
    FusionList,
    FusionState,
    HistoryDocument,
    RollbackBody,
    ScheduleBody,
    WeightsBody,
)
from service.api.revision_documents import convergence_document, history_page
from service.api.schemas import json_body, problems
from service.errors import InvalidProfile
from service.ranking.convergence import Convergence
from service.ranking.editing import FusionEditor
from service.ranking.fusions import FusionBook, Standing, utc_now
from service.ranking.revising import told
from service.revisions import Revision
from service.telemetry.metrics import Metrics

__all__ = ["admin_router"]

_READS = problems(401, 403, 404, 503)
_WRITES = {202: {"model": FusionState}, **problems(400, 401, 403, 404, 409, 413, 422, 428, 503)}


def admin_router(
    *,
    gate: AdminGate,
    fusions: FusionBook,
    editor: FusionEditor,
    convergence: Convergence,
    metrics: Metrics,
    now: Callable[[], datetime] = utc_now,
) -> APIRouter:
    """Give the routes that operators use."""
    router = APIRouter(prefix="/v1/admin", tags=["admin"])
    reading: dict[str, Any] = {"responses": _READS, "dependencies": [Depends(gate.needs("read"))]}

    def shown(standing: Standing) -> dict[str, Any]:
        return state_document(standing, now(), editor.warnings(standing.plan))

    def answered(standing: Standing) -> tuple[Revision, dict[str, Any]]:
        return standing.revision, shown(standing)

    Change = Annotated[  # noqa: N806 - a type
        Changing, Depends(changing(gate=gate, convergence=convergence, metrics=metrics))
    ]

    @router.get("/convergence", response_model=ConvergenceDocument, **reading)
    async def who_has_what() -> dict[str, Any]:
        """List the live processes and how far each is."""
        return convergence_document(await convergence.now())

    @router.get("/fusion", response_model=FusionList, **reading)
    async def every_profile() -> dict[str, Any]:
        """List the profiles as they stand."""
        return {"profiles": [shown(each) for _, each in sorted(fusions.profiles().items())]}

    @router.get("/fusion/{profile}", response_model=FusionState, **reading)
    async def one_profile(profile: str, response: Response) -> dict[str, Any]:
        """Show one profile as it stands; its ETag is what If-Match wants."""
        standing = fusions.standing(profile)
        response.headers["ETag"] = etag(standing.revision.revision)
        return shown(standing)

    @router.get("/fusion/{profile}/history", response_model=HistoryDocument, **reading)
    async def past_revisions(
        profile: str,
        before: Annotated[int | None, Query(ge=1)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        """Show who changed what, when and why, newest first; nothing is ever taken out."""
        return {"profile": profile, **history_page(await editor.history(profile, before=before, limit=limit), limit)}

    @router.put("/fusion/{profile}", **_writing(FusionBody))
    async def write_profile(profile: str, request: Request, change: Change) -> dict[str, Any]:
        """Write a new revision; once this returns, the next request is ranked by it."""
        check_name(profile)
        body = await parsed(request, FusionBody)
        return await change(
            body.reason, lambda author: editor.put(profile, body.profile, author, ttl_s=body.ttl_s), answered
        )

    @router.patch("/fusion/{profile}/weights", **_writing(WeightsBody))
    async def turn_weights(profile: str, request: Request, change: Change) -> dict[str, Any]:
        """Give some weights new values, within their bounds; the formula stays."""
        body = await parsed(request, WeightsBody)
        return await change(
            body.reason, lambda author: editor.set_weights(profile, body.weights, author, ttl_s=body.ttl_s), answered
        )

    @router.post("/fusion/{profile}/rollback", **_writing(RollbackBody))
    async def roll_back(profile: str, request: Request, change: Change) -> dict[str, Any]:
        """Write an earlier revision again, as a new one."""
        body = await parsed(request, RollbackBody)
        return await change(body.reason, lambda author: editor.roll_back(profile, author, to=body.to), answered)

    @router.put("/fusion/{profile}/schedules/{schedule}", **_writing(ScheduleBody))
    async def schedule_profile(profile: str, schedule: str, request: Request, change: Change) -> dict[str, Any]:
        """Let another profile take over in a window of time; it reverts by itself."""
        check_name(schedule)
        body = await parsed(request, ScheduleBody)
        window = _window(schedule, body)
        return await change(body.reason, lambda author: editor.schedule(profile, window, author), answered)

    @router.delete("/fusion/{profile}/schedules/{schedule}", response_model=FusionState, responses=_WRITES)
    async def cancel_schedule(
        profile: str, schedule: str, change: Change, reason: Annotated[str, Query(max_length=500)] = ""
    ) -> dict[str, Any]:
        """Take a window away, also while it is open."""
        return await change(reason, lambda author: editor.cancel(profile, schedule, author), answered)

    return router


def _writing(body: type) -> dict[str, Any]:
    return {"response_model": FusionState, "responses": _WRITES, "openapi_extra": json_body(body)}


def _window(name: str, body: ScheduleBody) -> Schedule:
    try:
        return Schedule(name=name, starts_at=body.starts_at, ends_at=body.ends_at, profile=body.profile)
    except ValidationError as error:
        raise InvalidProfile(told(error), fix="give an ends_at after starts_at", path="/ends_at") from None
