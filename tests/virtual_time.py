"""An event loop whose time jumps to the next timer, and runners that live in it: hours in a moment, no threads.

What happens at the same instant happens in the order in which it was asked for, so a run is the same every time.
"""

import asyncio
import selectors
from concurrent.futures import Executor, Future


class _Jumping(selectors.SelectSelector):
    """Never waits: says how long it would have."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("someone waits for what will never happen")
        if not ready:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with its own time, from zero."""

    def __init__(self):
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


def run_virtually(coroutine):
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


class VirtualExecutor(Executor):
    """Runs a call at once, and gives its outcome when the virtual time that it takes has passed.

    Args:
        seconds: Asked after every call: how long it took.
        breaks: Asked before every call: an error to raise in place of starting it, or None.
    """

    def __init__(self, seconds, *, breaks=lambda: None):
        self._seconds = seconds
        self._breaks = breaks
        self.at_work = 0
        self.most_at_work = 0
        self.is_shut = False

    def submit(self, call, /, *args):
        if error := self._breaks():
            raise error
        future = Future()
        future.set_running_or_notify_cancel()
        try:
            settle, outcome = future.set_result, call(*args)
        except BaseException as error:  # noqa: BLE001 - as a pool does: whatever it is, it is the call's outcome
            settle, outcome = future.set_exception, error
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        asyncio.get_running_loop().call_later(self._seconds(), self._settle, settle, outcome)
        return future

    def _settle(self, settle, outcome):
        self.at_work -= 1
        settle(outcome)

    def shutdown(self, wait=True, *, cancel_futures=False):
        assert not self.at_work, "shut down while a call runs"
        self.is_shut = True
