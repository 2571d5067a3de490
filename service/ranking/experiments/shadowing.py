"""Scores shadow arms after the answer has been given, from the heads that it was made of."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, Protocol

from contract.errors import ContractError
from service.errors import ServiceError
from service.ports import Clock, Exposure, FusionSource, Ranked, Scorer, ShadowArm
from service.ranking.experiments.shadow_change import ShadowChange, shadow_change
from service.telemetry.logging import get_logger

__all__ = ["ShadowObserver", "ShadowScorer"]

Lost = Literal["busy", "failed"]
_MAX_REST_S = 0.5  # what closing may have to wait for


class ShadowObserver(Protocol):
    """Told what shadows would have changed."""

    def observe_shadow(
        self, exposure: Exposure, *, top_overlap: float, kendall_tau: float, first_changed: bool
    ) -> None:
        """Record one request, ranked twice."""
        ...

    def observe_lost_shadow(self, exposure: Exposure, *, reason: Lost) -> None:
        """Record a request that was not ranked twice."""
        ...


class _Job(NamedTuple):
    arm: ShadowArm
    ranked: Ranked


class ShadowScorer:
    """A short line of shadows and one thread that works it off.

    The one who answers only puts a job into the line, and the line is looked at when the event loop comes round, which
    is after that answer has been written. Who finds the line full loses its shadow, never its time; and after each job
    the thread rests, since what it computes the others cannot.

    Args:
        fusions: The profiles in force.
        observer: Told of every shadow.
        clock: Monotonic seconds.
        max_waiting: Shadows that may wait.
        rest: Seconds of rest for a second of work.
    """

    def __init__(
        self,
        *,
        fusions: FusionSource,
        observer: ShadowObserver,
        clock: Clock,
        max_waiting: int = 64,
        rest: float = 9.0,
    ) -> None:
        self._fusions = fusions
        self._observer = observer
        self._clock = clock
        self._max_waiting = max_waiting
        self._rest = rest
        self._waiting: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fulcrum-shadow")
        self._working: asyncio.Task[None] | None = None
        self._closed = False

    def offer(self, arms: Sequence[ShadowArm], ranked: Ranked) -> None:
        """Put a request's shadows into the line; returns at once. Called from the event loop."""
        for arm in arms:
            if self._closed or len(self._waiting) >= self._max_waiting:
                self._observer.observe_lost_shadow(arm.exposure, reason="busy")
            else:
                self._waiting.append(_Job(arm, ranked))
        if self._waiting and self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def settled(self) -> None:
        """Wait until the line is empty."""
        while self._working is not None:
            await asyncio.wait([self._working])

    async def aclose(self) -> None:
        """Forget what waits and finish what runs."""
        self._closed = True
        self._waiting.clear()
        await self.settled()
        self._thread.shutdown()

    async def _work(self) -> None:
        try:
            while self._waiting:
                began = self._clock()
                await self._score(self._waiting.popleft())
                await asyncio.sleep(min(_MAX_REST_S, self._rest * (self._clock() - began)))
        finally:
            self._working = None

    async def _score(self, job: _Job) -> None:
        try:
            fusion = self._fusions.current(job.arm.profile, job.ranked.model).fusion
            change = await asyncio.get_running_loop().run_in_executor(self._thread, _change, job, fusion)
        except (ServiceError, ContractError):
            self._observer.observe_lost_shadow(job.arm.exposure, reason="failed")
        except Exception:  # noqa: BLE001 - a shadow may take nothing down, least of all those behind it
            get_logger().exception("shadow_failed", experiment=job.arm.exposure.experiment)
            self._observer.observe_lost_shadow(job.arm.exposure, reason="failed")
        else:
            self._observer.observe_shadow(
                job.arm.exposure,
                top_overlap=change.top_overlap,
                kendall_tau=change.kendall_tau,
                first_changed=change.first_changed,
            )


def _change(job: _Job, fusion: Scorer) -> ShadowChange:
    answered = job.ranked.scores
    fusion.check_weights(job.arm.weights)
    scores, _ = fusion.score(job.ranked.values(fusion), len(answered), weights=job.arm.weights)
    return shadow_change(answered, scores)
