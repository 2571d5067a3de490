"""Looks for new bundles now and then."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

__all__ = ["Watcher"]

_log = structlog.get_logger(__name__)


class Watcher:
    """Calls *refresh* every *interval_s* seconds until the block ends; a failure is logged, not fatal."""

    def __init__(self, refresh: Callable[[], Awaitable[None]], *, interval_s: float) -> None:
        self._refresh = refresh
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start watching."""
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self._refresh()
            except Exception:  # noqa: BLE001 - the next look may succeed
                _log.exception("looking for new models failed")
