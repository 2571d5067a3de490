"""Sides measured in turn, round by round: each server is started for its turn and alone on the machine in it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from training.benchmarks.serving.figures import Measured, Overload, Workload
from training.benchmarks.serving.load import closed_loop, open_loop
from training.benchmarks.serving.servers import ServerSpec, ServerUnusable, running
from training.benchmarks.serving.workloads import Ask

__all__ = ["CONNECTIONS", "Pace", "Side", "bare_calls", "measure_closed", "measure_open"]

CONNECTIONS = 8
_SHARE, _OVERLOAD = 0.7, 3.0
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long to measure.

    Args:
        seconds: Of each measurement.
        warm_up_s: Before each.
    """

    seconds: float
    rounds: int
    warm_up_s: float


@dataclass(frozen=True, kw_only=True)
class Side:
    """A server and the requests that it is asked.

    Args:
        closed: Whole requests by workload, for a closed loop.
        mixed: Whole requests of mixed sizes.
        overload: Whole requests of one size.
        log: Where its output goes.
    """

    server: ServerSpec
    closed: Mapping[Workload, Sequence[bytes]]
    mixed: Sequence[bytes]
    overload: Sequence[bytes]
    log: Path

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve for as long as the context is open."""
        with running(self.server, self.overload[0], log=self.log):
            yield


def measure_closed(
    sides: Sequence[Side], pace: Pace, bare: Callable[[], float], say: Say
) -> tuple[list[Measured], list[float]]:
    """Give every closed-loop figure, and that of *bare* once a round; odd rounds go through the sides backwards.

    Ours is the first side. A peer that does not start again misses its turn, and its medians are of fewer rounds.

    Raises:
        ServerUnusable: When ours does not start.
    """
    measured: list[Measured] = []
    calls: list[float] = []
    for round_ in range(pace.rounds):
        calls.append(bare())
        say(f"round {round_ + 1}: bare ONNX Runtime {calls[-1]:.0f}/s")
        for side in sides if round_ % 2 == 0 else sides[::-1]:
            try:
                measured += _closed_turn(side, pace, round_, say)
            except ServerUnusable as error:
                if side is sides[0]:
                    raise
                say(f"round {round_ + 1}: {error.detail}; its turn is left out")
    return measured, calls


def _closed_turn(side: Side, pace: Pace, round_: int, say: Say) -> list[Measured]:
    turn: list[Measured] = []
    with side.running():
        for workload, requests in side.closed.items():
            turn.append(_closed(side, workload, requests, pace, round_))
            say(f"round {round_ + 1}: {side.server.name}, {workload}: {turn[-1].rate:.0f}/s")
    return turn


def _closed(side: Side, workload: Workload, requests: Sequence[bytes], pace: Pace, round_: int) -> Measured:
    connections = 1 if workload == "alone" else CONNECTIONS
    load = asyncio.run(
        closed_loop(side.server.port, requests, connections=connections, seconds=pace.seconds, warm_up_s=pace.warm_up_s)
    )
    return Measured.of(load, side=side.server.name, workload=workload, round_=round_)


def measure_open(sides: Sequence[Side], pace: Pace, say: Say) -> tuple[list[Measured], list[Overload]]:
    """Give the figures at 70 % of each side's capacity and at three times of it; capacity is measured just before."""
    mixed: list[Measured] = []
    overload: list[Overload] = []
    for round_ in range(pace.rounds):
        for side in sides:
            with side.running():
                mixed.append(_at_share(side, pace, round_))
                say(f"round {round_ + 1}: {side.server.name} at 70 %: p50 {mixed[-1].p50_ms:.1f} ms")
                overload.append(_beyond(side, pace, round_))
                say(f"round {round_ + 1}: {side.server.name} at 3×: goodput {overload[-1].goodput:.0f}/s")
    return mixed, overload


def _capacity(side: Side, requests: Sequence[bytes], pace: Pace) -> float:
    load = closed_loop(
        side.server.port, requests, connections=CONNECTIONS, seconds=pace.seconds, warm_up_s=pace.warm_up_s
    )
    return asyncio.run(load).rate()


def _at_share(side: Side, pace: Pace, round_: int) -> Measured:
    rate = _SHARE * _capacity(side, side.mixed, pace)
    load = asyncio.run(open_loop(side.server.port, side.mixed, rate=rate, seconds=pace.seconds, seed=round_))
    return Measured.of(load, side=side.server.name, workload="mixed at 70 %", round_=round_)


def _beyond(side: Side, pace: Pace, round_: int) -> Overload:
    capacity = _capacity(side, side.overload, pace)
    load = open_loop(
        side.server.port, side.overload, rate=_OVERLOAD * capacity, seconds=pace.seconds, seed=1_000 + round_
    )
    return Overload.of(asyncio.run(load), side=side.server.name, round_=round_, capacity=capacity)


def bare_calls(naive: Path, ask: Ask, seconds: float) -> float:
    """Give the calls a second of ONNX Runtime alone on the naive graph: the better of one thread and two."""
    feed = {"xu": np.repeat(np.array([ask.user], np.int64), len(ask.items), axis=0), "xi": ask.items.astype(np.int64)}
    return max(_calls(naive, feed, threads, seconds / 2) for threads in (1, 2))


def _calls(naive: Path, feed: Mapping[str, np.ndarray], threads: int, seconds: float) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(naive), options, providers=["CPUExecutionProvider"])
    for _ in range(5):
        session.run(None, feed)
    count, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        session.run(None, feed)
        count += 1
    return count / passed
