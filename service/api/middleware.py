"""What happens around every request: an id, a limit on its body, a metric, and an answer to any failure."""

import time
import uuid
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import problem, problem_body, problem_of
from service.errors import BodyTooLarge
from service.telemetry.logging import exposures_scope, get_logger, request_id_scope
from service.telemetry.metrics import Metrics

__all__ = ["RequestMiddleware"]


class RequestMiddleware:
    """Wraps the app.

    Args:
        app: What is wrapped.
        metrics: Told of every answer.
        max_body_bytes: Bytes that a body may have, whether announced or streamed.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id_scope.set(uuid.uuid4().hex)
        exposures_scope.set(())
        answer, begin = _Answer(send), self._clock()
        try:
            await self._answer(scope, receive, answer)
        finally:
            seconds = self._clock() - begin
            status = answer.status or 499  # the caller went away before an answer began
            self._metrics.observe_request(route=_route(scope), status=status, seconds=seconds)
            arms = {"experiments": exposures} if (exposures := exposures_scope.get()) else {}
            get_logger().debug("request", route=_route(scope), status=status, seconds=round(seconds, 6), **arms)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if _announced(scope) > self._max_body_bytes:
            await problem_of(self._too_large())(scope, receive, answer)
            return
        try:
            await self._app(scope, self._limited(receive), answer)
        except Exception:  # noqa: BLE001 - the last line of defence: logged in full, answered as a 500
            get_logger().exception("unexpected_error", route=_route(scope))
            if answer.status is None:
                await problem(_unexpected())(scope, receive, answer)

    def _limited(self, receive: Receive) -> Receive:
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_body_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"the body has more than {self._max_body_bytes} bytes",
            fix="send fewer candidates a request, or raise FULCRUM_MAX_BODY_BYTES",
        )


class _Answer:
    """A ``send`` that remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _unexpected() -> dict[str, object]:
    return problem_body(
        status=500,
        code="internal_error",
        detail="the service failed on this request",
        fix="look for its request_id in the service's log and report it",
    )


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _route(scope: Scope) -> str:
    """Give the template of the route; whatever clients invent falls under one name."""
    return str(getattr(scope.get("route"), "path", "unmatched"))
