"""Who may do what on the admin routes: bearer tokens with scopes."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request

from service.errors import AdminClosed, Forbidden, Unauthorized
from service.tokens import AdminToken, Scope, digest_of

__all__ = ["AdminGate", "Caller"]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who is calling."""

    name: str


class AdminGate:
    """Lets through who holds a token with the scope that a route needs.

    Args:
        tokens: All that are known; none keeps the gate closed for everyone.
    """

    def __init__(self, tokens: Sequence[AdminToken]) -> None:
        self._tokens = tokens

    def needs(self, scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
        """Give the check of a route, as a dependency.

        The check raises :class:`AdminClosed`, :class:`Unauthorized` or :class:`Forbidden`.
        """

        async def check(request: Request) -> Caller:
            return self._check(request.headers.get("authorization", ""), scope)

        return check

    def _check(self, header: str, scope: Scope) -> Caller:
        if not self._tokens:
            raise AdminClosed("the admin routes are closed", fix="set FULCRUM_ADMIN_TOKEN to open them")
        scheme, _, given = header.partition(" ")
        token = self._find(given.strip())
        if scheme.lower() != "bearer" or token is None:
            raise Unauthorized("the admin token is missing or wrong", fix="send `Authorization: Bearer <token>`")
        if scope != "read" and scope not in token.scopes:
            raise Forbidden(
                f"the token of {token.name!r} has not the scope {scope!r}",
                fix=f"it has: {', '.join(sorted(token.scopes))}; ask for a token with {scope!r}",
            )
        return Caller(name=token.name)

    def _find(self, given: str) -> AdminToken | None:
        """Compare with every token, so that the time tells neither which one matches nor how far."""
        digest, found = digest_of(given), None
        for token in self._tokens:
            if secrets.compare_digest(digest, token.sha256):
                found = token
        return found
