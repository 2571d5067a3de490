"""What every change through the admin API has in common: who, since when, why, an audit line, and who has it."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query, Request
from pydantic import BaseModel, ValidationError

from contract.errors import ContractError
from service.api.auth import Caller
from service.api.decode import parse_object
from service.errors import InvalidProfile, ServiceError
from service.ranking.revising import Author
from service.telemetry.logging import get_logger
from service.telemetry.metrics import Metrics

__all__ = ["Audit", "Wait", "WaitTimeout", "etag", "parsed", "seen_revision"]

_ETAG = re.compile(r'(?:W/)?"?([1-9][0-9]{0,17})"?')
Wait = Annotated[Literal["none", "all"], Query(description="`all` answers when every live process has applied it.")]
WaitTimeout = Annotated[float, Query(gt=0, le=60, description="Seconds that `wait=all` waits at most.")]
_Body = TypeVar("_Body", bound=BaseModel)
_Result = TypeVar("_Result")


def etag(revision: int) -> str:
    """Give the ETag of a revision."""
    return f'"{revision}"'


def seen_revision(request: Request) -> int | None:
    """Read which revision the writer saw, from If-Match; None where it does not say.

    Raises:
        InvalidProfile: When the header is no revision.
    """
    given = request.headers.get("if-match")
    if given is None:
        return None
    if found := _ETAG.fullmatch(given.strip()):
        return int(found[1])
    raise InvalidProfile("If-Match is no revision", fix='send the ETag of the last answer, for example If-Match: "12"')


async def parsed(request: Request, kind: type[_Body]) -> _Body:
    """Read the body of a change; an empty one is an empty object.

    Raises:
        MalformedBody: When it is no JSON object.
        InvalidProfile: When a key is unknown, missing, or its value is not allowed, with the place.
    """
    document = parse_object(await request.body() or b"{}")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidProfile(
            first["msg"].removeprefix("Value error, "), fix=_fix(first), path=_pointer(first["loc"])
        ) from None


def _fix(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "leave it out; /docs lists the keys"
    return "give it as /docs describes it"


def _pointer(place: tuple[Any, ...]) -> str:
    """Give the place in the body as it was sent: without the profile that we gathered, nor its kind."""
    parts = [str(part) for part in place]
    if parts[:1] == ["profile"]:
        parts = parts[2:] if parts[1:2] and parts[1] in ("formula", "model") and len(parts) > 2 else parts[1:]
    return "".join(f"/{part}"[:129] for part in parts)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Writes one line for each change that was asked for, whatever became of it."""

    request: Request
    caller: Caller
    metrics: Metrics

    async def of(self, reason: str, act: Callable[[Author], Awaitable[_Result]]) -> _Result:
        """Run a change and write its line.

        Raises:
            ServiceError: What the change raises.
            ContractError: What the change raises.
        """
        try:
            author = Author(name=self.caller.name, reason=reason, saw=seen_revision(self.request))
            result = await act(author)
        except (ServiceError, ContractError) as error:
            self._line(reason, result="refused", code=error.code, detail=error.detail)
            self.metrics.observe_fusion_write(result="refused")
            raise
        self._line(reason, result="written")
        self.metrics.observe_fusion_write(result="written")
        return result

    def _line(self, reason: str, **what: str) -> None:
        method, path = self.request.method, self.request.url.path
        get_logger().info("audit", who=self.caller.name, method=method, path=path, reason=reason, **what)
