"""The other end of :mod:`service.runtime.aside`: reads work and its parts from stdin, writes each result to stdout.

Each is a pickle with its length before it; a length of 0 ends the parts.
"""

import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

__all__ = ["main"]

_LENGTH = 8


def main() -> None:
    """Work until the parent closes the pipe."""
    _yield_to_the_service()
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up in an answer
    while content := _next(source):
        answer = pickle.dumps(_done(pickle.loads(content), source))  # noqa: S301 - of our own parent
        target.write(len(answer).to_bytes(_LENGTH) + answer)
        target.flush()


def _done(work: Any, source: BinaryIO) -> tuple[bool, Any]:
    parts = _parts(source)
    try:
        answer: tuple[bool, Any] = True, work(parts)
    except Exception as error:  # noqa: BLE001 - the parent has to hear of it
        traceback.print_exc()
        answer = False, f"{type(error).__name__}: {error}"
    for _ in parts:  # what the work left unread
        pass
    return answer


def _parts(source: BinaryIO) -> Iterator[Any]:
    while content := _next(source):
        yield pickle.loads(content)  # noqa: S301 - of our own parent


def _next(source: BinaryIO) -> bytes:
    return source.read(int.from_bytes(source.read(_LENGTH)))


def _yield_to_the_service() -> None:
    """Run only while a core of the service has nothing to do, where the system can promise that.

    A process of the idle class gives way the moment that another of its group wakes, one that is merely nice only when
    its slice ends (sched(7)). So it has to stay in the group of the service: its session, or its container.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # not Linux, or not allowed
        os.nice(19)


if __name__ == "__main__":
    main()
