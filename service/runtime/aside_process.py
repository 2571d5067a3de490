"""The other end of :mod:`service.runtime.aside`: reads work and its parts from stdin, writes the result to stdout."""

import contextlib
import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["main"]


def main() -> None:
    """Run one piece of work."""
    _yield_to_all()
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up in the answer
    answer: tuple[bool, Any]
    try:
        work = pickle.load(source)  # noqa: S301 - of our own parent
        answer = True, work(_parts(source))
    except Exception as error:  # noqa: BLE001 - the parent has to hear of it
        traceback.print_exc()
        answer = False, f"{type(error).__name__}: {error}"
    source.close()  # the parent may still be writing
    with target:
        pickle.dump(answer, target)


def _parts(source: BinaryIO) -> Iterator[Any]:
    while True:
        try:
            yield pickle.load(source)  # noqa: S301 - of our own parent
        except EOFError:
            return


def _yield_to_all() -> None:
    """Run only while a core has nothing else to do, as far as the system can promise that."""
    os.nice(int(os.environ.get("X_NICE", "10")))
    # Where Linux groups processes by session (sched(7), "The autogroup feature"), priorities count within a group
    # alone: in the group of the service this process would use up the service's own share.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(os.environ.get("X_NICE", "10"))


if __name__ == "__main__":
    main()
