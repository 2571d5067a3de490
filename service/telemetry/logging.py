"""Logs as JSON lines on standard error. Ids of users and items are never logged."""

import logging
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

__all__ = ["configure_logging", "current_request_id", "exposures_scope", "get_logger", "request_id_scope"]

request_id_scope: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that the current task answers; "" outside of any."""

exposures_scope: ContextVar[Sequence[Mapping[str, Any]]] = ContextVar("exposures", default=())
"""Arms of experiments that the request of the current task is in, as its answer names them."""


def current_request_id() -> str:
    """Give the id of the request that the current task answers."""
    return request_id_scope.get()


def get_logger() -> FilteringBoundLogger:
    """Give the service's logger."""
    logger: FilteringBoundLogger = structlog.get_logger("fulcrum")
    return logger


def configure_logging(level: str) -> None:
    """Set structlog up for the process."""
    structlog.configure(
        processors=[
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if request_id := current_request_id():
        event["request_id"] = request_id
    return event
