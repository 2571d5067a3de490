"""Work for another process: in a module of its own, so that the process imports nothing else for it."""

import os
import signal
import sys
import time


def total(parts):
    return sum(parts)


def first(parts):
    return next(parts)


def nothing(parts):
    return list(parts)[:0]


def whereabouts(parts):
    sys.stdout.write("this must not end up in the answer")
    return os.getpid(), os.sched_getscheduler(0), os.environ["OMP_NUM_THREADS"], sum(parts)


def fails(parts):
    raise ArithmeticError(f"no answer to {sum(parts)}")


def dies(parts):
    os.kill(os.getpid(), signal.SIGKILL)


def never_ends(parts):
    while True:
        time.sleep(1)


def large(parts):
    return bytes(3_000_000)
