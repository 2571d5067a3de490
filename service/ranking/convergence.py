"""Whether every process has what was written."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.ports import Clock
from service.revisions import ProcessState, RevisionStore

__all__ = ["Convergence", "ConvergenceState"]

_LOOK_S = 0.02


@dataclass(frozen=True, kw_only=True)
class ConvergenceState:
    """Who has applied what.

    Args:
        sequence: Of the change that was asked about.
        processes: All that are alive.
    """

    sequence: int
    processes: Sequence[ProcessState]

    @property
    def behind(self) -> tuple[ProcessState, ...]:
        """Those that have not applied it yet."""
        return tuple(process for process in self.processes if process.applied < self.sequence)


class Convergence:
    """Asks the store how far all processes are.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, store: RevisionStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def now(self) -> ConvergenceState:
        """Look once, at the newest change."""
        newest = await asyncio.to_thread(self._store.wait, 0, timeout_s=0.0)
        return await self._look(newest)

    async def reached(self, sequence: int, *, timeout_s: float) -> ConvergenceState:
        """Wait until every process that is alive has applied a change, or the time is over."""
        until = self._clock() + timeout_s
        state = await self._look(sequence)
        while state.behind and self._clock() < until:
            await asyncio.sleep(_LOOK_S)
            state = await self._look(sequence)
        return state

    async def _look(self, sequence: int) -> ConvergenceState:
        return ConvergenceState(sequence=sequence, processes=await asyncio.to_thread(self._store.processes))
