"""Times the stages of one request."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from service.ports import Clock
from service.ranking.query import Timings

__all__ = ["Stopwatch"]


class Stopwatch:
    """Fills a :class:`Timings` record.

    Args:
        clock: Monotonic seconds.
        start: Stages that passed before the watch was there.
    """

    def __init__(self, clock: Clock, start: Mapping[str, float]) -> None:
        self._clock = clock
        self.timings = Timings(stages=dict(start))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one stage."""
        begin = self._clock()
        yield
        self.add(name, self._clock() - begin)

    def add(self, name: str, seconds: float) -> None:
        """Record a stage that was timed elsewhere."""
        self.timings.stages[name] = seconds
