"""``POST /v1/rank``."""

import asyncio
import time
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.decode import Decoder, parse_object, text_at
from service.api.encode import encode_result, exposure_documents
from service.api.schemas import RankRequest, RankResponse, json_body, problems
from service.ranking.query import RankQuery
from service.ranking.ranker import Ranker
from service.telemetry.logging import current_request_id, exposures_scope, request_id_scope
from service.telemetry.metrics import Metrics

__all__ = ["rank_router"]

_OFF_LOOP_BYTES = 256 * 1024
_ROUTE: dict[str, Any] = {
    "tags": ["rank"],
    "summary": "Rank the candidates of one request",
    "response_model": None,
    "responses": {
        200: {"model": RankResponse},
        **problems(400, 404, 413, 422, 429, 500, 503, 504),
    },
    "openapi_extra": json_body(RankRequest),
}


def rank_router(*, ranker: Ranker, decoder: Decoder, metrics: Metrics) -> APIRouter:
    """Give the route that ranks."""
    router = APIRouter()

    @router.post("/v1/rank", **_ROUTE)
    async def rank(request: Request) -> Response:
        """Score every candidate with every head of the model, fuse the heads, give the best first."""
        query = await _decoded(await request.body(), decoder)
        result = await ranker.rank(query)
        exposures_scope.set(exposure_documents(result.exposures))
        begin = time.perf_counter()
        body = encode_result(result)
        metrics.observe_stage("encode", time.perf_counter() - begin)
        return Response(body, media_type="application/json")

    return router


async def _decoded(body: bytes, decoder: Decoder) -> RankQuery:
    if len(body) <= _OFF_LOOP_BYTES:
        return _decode(body, decoder)
    # A large body would hold up everyone else on the loop for as long as it takes to parse.
    query = await asyncio.to_thread(_decode, body, decoder)
    request_id_scope.set(query.request_id)
    return query


def _decode(body: bytes, decoder: Decoder) -> RankQuery:
    begin = time.perf_counter()
    document = parse_object(body)
    request_id = text_at(document, "request_id") or current_request_id()
    request_id_scope.set(request_id)
    query = decoder.decode(document, request_id=request_id)
    return replace(query, decode_s=time.perf_counter() - begin)
