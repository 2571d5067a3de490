"""Errors to answers: the one table of statuses, and problem+json (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from contract.errors import BundleError, ContractError, EncodingError, FormulaError, ManifestError, ScoreError
from service.errors import (
    AdminClosed,
    AdminError,
    BodyTooLarge,
    DeadlineExceeded,
    Forbidden,
    InferenceFailed,
    InvalidRequest,
    MalformedBody,
    ModelRejected,
    NotFound,
    Overloaded,
    PreconditionMissing,
    ProfileMismatch,
    RevisionConflict,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnreadableDocument,
    UnsupportedEncoding,
)
from service.telemetry.logging import current_request_id

__all__ = [
    "PROBLEM_TYPE",
    "STATUSES",
    "install_error_handlers",
    "problem",
    "problem_body",
    "problem_of",
    "status_of",
]

PROBLEM_TYPE = "application/problem+json"

STATUSES: dict[type[Exception], int] = {
    MalformedBody: 400,
    UnsupportedEncoding: 415,
    InvalidRequest: 422,
    BodyTooLarge: 413,
    NotFound: 404,
    ProfileMismatch: 422,
    Overloaded: 429,
    DeadlineExceeded: 504,
    Unavailable: 503,
    InferenceFailed: 500,
    ModelRejected: 500,
    UnreadableDocument: 500,
    AdminClosed: 403,
    Unauthorized: 401,
    Forbidden: 403,
    PreconditionMissing: 428,
    RevisionConflict: 409,
    AdminError: 422,
    EncodingError: 422,
    FormulaError: 422,
    ScoreError: 422,
    ManifestError: 500,
    BundleError: 500,
    ServiceError: 500,
    ContractError: 500,
}
"""Family to status; a class without a row of its own takes its nearest ancestor's."""

_HTTP_CODES = {404: "no_such_route", 405: "method_not_allowed"}


def status_of(kind: type[Exception]) -> int:
    """Give the HTTP status of an error class."""
    return next(STATUSES[family] for family in kind.__mro__ if family in STATUSES)


def problem_body(
    *, status: int, code: str, detail: str, fix: str = "", path: str = "", retry_after_s: float | None = None
) -> dict[str, Any]:
    """Give the document of an error."""
    document: dict[str, Any] = {
        "type": f"urn:fulcrum:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "fix": fix,
        "path": path,
        "request_id": current_request_id(),
    }
    return document if retry_after_s is None else {**document, "retry_after_s": retry_after_s}


def problem(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """Wrap an error's document in a response."""
    return Response(orjson.dumps(document), status_code=document["status"], headers=headers, media_type=PROBLEM_TYPE)


def problem_of(error: ServiceError | ContractError) -> Response:
    """Answer one of our own errors."""
    retry_after_s = getattr(error, "retry_after_s", None)
    headers = {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(retry_after_s)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="fulcrum admin"'
    document = problem_body(
        status=status_of(type(error)),
        code=error.code,
        detail=error.detail,
        fix=error.fix,
        path=error.path,
        retry_after_s=retry_after_s,
    )
    return problem(document, headers)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of the house, and the framework's own, as problem+json."""
    app.add_exception_handler(ServiceError, _on_own)
    app.add_exception_handler(ContractError, _on_own)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)


async def _on_own(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError | ContractError)  # noqa: S101 - registered for these alone
    return problem_of(error)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    status = error.status_code
    document = problem_body(
        status=status,
        code=_HTTP_CODES.get(status, "http_error"),
        detail=f"{request.method} is not answered here" if status == 405 else str(error.detail),
        fix="see /docs for the routes and their methods",
    )
    return problem(document, dict(error.headers or {}))


async def _on_validation(_request: Request, _error: Exception) -> Response:
    return problem(problem_body(status=422, code="invalid_request", detail="the request is not valid"))
