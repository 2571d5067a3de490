"""What every change through the admin API has in common: who, since when, why, an audit line, and who has it."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ValidationError

from contract.errors import ContractError
from service.api.auth import AdminGate, Caller
from service.api.decode import parse_object
from service.api.revision_documents import convergence_document
from service.errors import AdminError, InvalidProfile, ServiceError
from service.ranking.convergence import Convergence
from service.ranking.revising import Author, told
from service.revisions import Revision
from service.telemetry.logging import get_logger
from service.telemetry.metrics import Metrics

__all__ = ["Changing", "changing", "check_name", "etag", "parsed", "seen_revision"]

_ETAG = re.compile(r'(?:W/)?"?([1-9][0-9]{0,17})"?')
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
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


async def parsed(request: Request, kind: type[_Body], *, refuse: type[AdminError] = InvalidProfile) -> _Body:
    """Read the body of a change; an empty one is an empty object.

    Args:
        refuse: What to raise.

    Raises:
        MalformedBody: When it is no JSON object.
        AdminError: When a key is unknown, missing, or its value is not allowed, with the place.
    """
    document = parse_object(await request.body() or b"{}")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise refuse(told(error), fix=_fix(first), path=_pointer(first["loc"])) from None


def check_name(name: str, *, refuse: type[AdminError] = InvalidProfile) -> None:
    """Refuse a name that could not stand in a path, a label or a file.

    Raises:
        AdminError: What *refuse* says.
    """
    if not _NAME.fullmatch(name):
        raise refuse("the name cannot be used", fix="take 1 to 64 letters, digits, and _ . -")


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
class Changing:
    """One request to change something: runs it, writes its audit line whatever became of it, and answers.

    Args:
        wait: Whether to answer when every live process has applied it.
    """

    request: Request
    response: Response
    caller: Caller
    wait: str
    wait_timeout_s: float
    convergence: Convergence
    metrics: Metrics

    async def __call__(
        self,
        reason: str,
        act: Callable[[Author], Awaitable[_Result]],
        shown: Callable[[_Result], tuple[Revision, dict[str, Any]]],
    ) -> dict[str, Any]:
        """Run a change.

        Args:
            act: Makes the change.
            shown: Gives the revision that was written, and the document that answers.

        Raises:
            ServiceError: What the change raises.
            ContractError: What the change raises.
        """
        revision, document = shown(await self._audited(reason, act))
        self.response.headers["ETag"] = etag(revision.revision)
        if self.wait == "all":
            state = await self.convergence.reached(revision.sequence, timeout_s=self.wait_timeout_s)
            document["convergence"] = convergence_document(state)
            self.response.status_code = 202 if state.behind else 200
        return document

    async def _audited(self, reason: str, act: Callable[[Author], Awaitable[_Result]]) -> _Result:
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


def changing(*, gate: AdminGate, convergence: Convergence, metrics: Metrics) -> Callable[..., Changing]:
    """Give the dependency of routes that change something; it wants the scope ``fusion``."""

    def change(
        request: Request,
        response: Response,
        caller: Annotated[Caller, Depends(gate.needs("fusion"))],
        wait: Annotated[
            Literal["none", "all"], Query(description="`all` answers when every live process has applied it.")
        ] = "none",
        wait_timeout_s: Annotated[
            float, Query(gt=0, le=60, description="Seconds that `wait=all` waits at most.")
        ] = 5.0,
    ) -> Changing:
        return Changing(
            request=request,
            response=response,
            caller=caller,
            wait=wait,
            wait_timeout_s=wait_timeout_s,
            convergence=convergence,
            metrics=metrics,
        )

    return change
