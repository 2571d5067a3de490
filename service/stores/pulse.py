"""How a thread waits for a change of a store: it looks, and then waits for a sign that it should look again."""

import time
from collections.abc import Callable
from threading import Condition

from service.errors import StoreUnavailable

__all__ = ["Pulse", "await_change"]


class Pulse:
    """Wakes every thread that waits. A beat between a look and the wait after it is not missed."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._beats = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Tell whether waiting is over for good."""
        return self._closed

    @property
    def beats(self) -> int:
        """Give how many signs there were; read it before the look, and hand it to :meth:`wait` after it."""
        return self._beats

    def beat(self) -> None:
        """Say that a look is worth it."""
        with self._condition:
            self._beats += 1
            self._condition.notify_all()

    def close(self) -> None:
        """Wake everyone, now and from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def wait(self, beats: int, timeout_s: float) -> None:
        """Block until there is a beat after the first *beats*, the pulse is closed, or the time is over."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._beats != beats, timeout_s)

    def rest(self, timeout_s: float) -> None:
        """Block until the pulse is closed or the time is over."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed, timeout_s)


def await_change(look: Callable[[], int], after: int, *, pulse: Pulse, timeout_s: float, look_every_s: float) -> int:
    """Look at each beat, and every *look_every_s* without one, until the newest sequence is another than *after*.

    Args:
        look: Gives the newest sequence; called without a lock, so that who waits blocks no one.

    Raises:
        StoreUnavailable: From *look*, unless the pulse was closed meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    newest = after
    while not pulse.closed:
        beats = pulse.beats
        try:
            newest = look()
        except StoreUnavailable:
            if pulse.closed:
                break
            raise
        left_s = deadline - time.monotonic()
        if newest != after or left_s <= 0:
            break
        pulse.wait(beats, min(left_s, look_every_s))
    return newest
