"""``/v1/admin/fusion``: look at fusion profiles and change them while traffic flows."""

import re
import secrets
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError

from contract.errors import ContractError
from contract.fusion import FusionProfile
from service.api.decode import parse_object
from service.api.schemas import FusionBody, FusionList, FusionState, json_body, problems
from service.errors import AdminClosed, InvalidProfile, ServiceError, Unauthorized
from service.ports import FusionRevision, ModelCatalog
from service.ranking.fusions import FusionBook
from service.telemetry.logging import get_logger
from service.telemetry.metrics import Metrics

__all__ = ["AdminGate", "admin_router"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_REFUSALS = problems(400, 401, 403, 404, 413, 422, 503)


class AdminGate:
    """Lets through who holds the token.

    Args:
        token: The token; None keeps the gate closed for everyone.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    async def __call__(self, request: Request) -> None:
        """Check a request.

        Raises:
            AdminClosed: When no token is configured.
            Unauthorized: When the token is missing or wrong.
        """
        if not self._token:
            raise AdminClosed("the admin routes are closed", fix="set FULCRUM_ADMIN_TOKEN to open them")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Bytes, since compare_digest refuses text that is not ASCII.
        matches = secrets.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() != "bearer" or not matches:
            raise Unauthorized("the admin token is missing or wrong", fix="send `Authorization: Bearer <token>`")


def admin_router(*, gate: AdminGate, fusions: FusionBook, catalog: ModelCatalog, metrics: Metrics) -> APIRouter:
    """Give the routes that operators use."""
    router = APIRouter(prefix="/v1/admin/fusion", tags=["admin"], dependencies=[Depends(gate)])

    @router.get("", response_model=FusionList, responses=_REFUSALS)
    async def every_profile() -> dict[str, Any]:
        """List the profiles in force."""
        return {"profiles": [_state(each) for _, each in sorted(fusions.profiles().items())]}

    @router.get("/{profile}", response_model=FusionState, responses=_REFUSALS)
    async def one_profile(profile: str) -> dict[str, Any]:
        """Show one profile in force."""
        return _state(fusions.revision(profile))

    @router.put(
        "/{profile}",
        response_model=FusionState,
        responses=_REFUSALS,
        openapi_extra=json_body(FusionBody),
    )
    async def change_profile(profile: str, request: Request) -> dict[str, Any]:
        """Write a new revision; once this returns, the next request is ranked by it."""
        try:
            written = await fusions.write(*_change(profile, await request.body()), catalog.all())
        except (ServiceError, ContractError):
            metrics.observe_fusion_write(result="refused")
            raise
        metrics.observe_fusion_write(result="written")
        get_logger().info("fusion_written", profile=profile, revision=written.revision)
        return _state(written)

    return router


def _change(name: str, body: bytes) -> tuple[str, FusionProfile]:
    if not _NAME.fullmatch(name):
        raise InvalidProfile("the name of the profile cannot be used", fix="take 1 to 64 letters, digits, and _ . -")
    document = parse_object(body)
    try:
        return name, FusionProfile.model_validate(document, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidProfile(
            first["msg"],
            fix='send {"formula": "…", "weights": {"name": number}, "non_finite": "bottom" or "fail"}',
            path="".join(f"/{part}"[:129] for part in first["loc"]),
        ) from None


def _state(revision: FusionRevision) -> dict[str, Any]:
    return {
        "profile": revision.profile_name,
        "revision": revision.revision,
        "formula": revision.profile.formula,
        "weights": revision.profile.weights,
        "non_finite": revision.profile.non_finite,
        "created_at": revision.created_at.isoformat(),
    }
