"""``POST /v1/admin/fusion/{profile}/preview``: what a change would do to recent requests."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, Request, Response
from pydantic import TypeAdapter, ValidationError

from contract.fusion import AnyProfile, FusionProfile, LearnedProfile
from service.api.decode import parse_object, refuse_unknown_keys
from service.api.preview_documents import preview_document
from service.api.preview_schemas import PreviewBody, PreviewDocument
from service.api.schemas import json_body, problems
from service.errors import InvalidProfile
from service.ranking.preview_desk import PreviewDesk
from service.ranking.proposal import Proposal
from service.ranking.revising import told

__all__ = ["preview_router"]

_BODY = TypeAdapter(PreviewBody)
_FORMULA = TypeAdapter(FusionProfile)
_LEARNED = TypeAdapter(LearnedProfile)
_VALUES = TypeAdapter(dict[str, float])
_Kind = TypeVar("_Kind")
_OPTIONS = {"top_k", "segment_by", "max_requests"}


def preview_router(*, gate: Callable[..., Any], desk: PreviewDesk) -> APIRouter:
    """Give the route.

    Args:
        gate: A dependency that lets through who may read.
        desk: Works out the answer.
    """
    router = APIRouter(prefix="/v1/admin/fusion", tags=["admin"], dependencies=[Depends(gate)])

    @router.post(
        "/{profile}/preview",
        response_model=None,
        responses={200: {"model": PreviewDocument}, **problems(400, 401, 403, 404, 413, 422, 429)},
        openapi_extra=json_body(PreviewBody),
    )
    async def preview_change(profile: str, request: Request) -> Response:
        """Rank recent requests again under a proposed profile; nothing changes."""
        answer = await desk.answer(profile, _proposal(await request.body()))
        return Response(orjson.dumps(preview_document(answer)), media_type="application/json")

    return router


def _proposal(content: bytes) -> Proposal:
    """Read a body.

    Raises:
        MalformedBody: When it is no JSON object.
        InvalidField: When a key is unknown.
        InvalidProfile: When a value is not allowed, with the place.
    """
    document = parse_object(content)
    refuse_unknown_keys(document, tuple(PreviewBody.model_fields))
    body = _validated(_BODY, document)
    given = {key: value for key, value in document.items() if key not in _OPTIONS}
    is_whole = bool(given.keys() - {"weights", "kind"})
    return Proposal(
        profile=_profile(given) if is_whole else None,
        weights={} if is_whole else _weights(given),
        top_k=body.top_k,
        segment_by=body.segment_by,
        max_requests=body.max_requests,
    )


def _profile(given: dict[str, Any]) -> AnyProfile:
    if given.get("kind") == "model":
        return _validated(_LEARNED, given)
    return _validated(_FORMULA, given)


def _weights(given: dict[str, Any]) -> dict[str, float]:
    weights = _validated(_VALUES, given.get("weights", {}), at="/weights")
    if not weights:
        raise InvalidProfile("nothing is proposed", fix="send a formula, or new values for weights")
    return weights


def _validated(kind: TypeAdapter[_Kind], given: Any, *, at: str = "") -> _Kind:
    try:
        return kind.validate_python(given, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidProfile(
            told(error),
            fix="give it as /docs describes it",
            path=at + "".join(f"/{part}"[:129] for part in first["loc"]),
        ) from None
