"""What is wrong when Valkey does not answer, and how to mend it."""

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from service.errors import StoreUnavailable

__all__ = ["unavailable"]

_RETRY_S = 1.0
_FIXES: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "check the user and the password of the store's URL"),
    (NoPermissionError, "let the user run scripts, and read, write and subscribe to fulcrum:*"),
    (BusyLoadingError, "wait until the server has loaded its data"),
    (ReadOnlyError, "name the primary in the store's URL; this server is a replica"),
    (OutOfMemoryError, "raise the server's maxmemory, or free some; its policy has to be noeviction"),
    (ResponseError, "look at the server's log, and at the keys fulcrum:* if someone has edited them"),
)
_OTHER = "start the server, or check its address and the network"
_PERHAPS = "; the change may have been kept all the same: look at the history before trying again"


def unavailable(error: Exception, shown: str, *, changes: bool) -> StoreUnavailable:
    """Say what is wrong, without the URL, which may hold a password.

    Args:
        shown: The address without it.
        changes: Whether a change was asked for; the server has done it if only its answer was lost.
    """
    fix = next((fix for kind, fix in _FIXES if isinstance(error, kind)), _OTHER)
    lost = changes and fix is _OTHER
    return StoreUnavailable(
        f"the store {shown} does not answer: {error}", fix=fix + _PERHAPS * lost, retry_after_s=_RETRY_S
    )
