"""The table: goals of issue 5, each set against medians over the rounds of one run."""

import math
import statistics
from collections.abc import Callable
from typing import Literal

from contract.frozen import Frozen
from training.benchmarks.serving.figures import OURS, Measured, Overload, Results, Workload
from training.benchmarks.serving.samples import BROKEN, TIMED_OUT

__all__ = ["Row", "best_peer", "rows_of"]

_GOALS: dict[Workload, float] = {"inline fp32": 2.0, "inline int8": 4.0, "by id fp32": 5.0, "by id int8": 8.0}
_NEARLY_ALL = 0.99
"""Part that must be answered for a spread to count: whoever refuses the slow ones is no faster."""


class Row(Frozen):
    """One row of the table.

    Args:
        ratio: What the goal is about; None where a side has no figure.
        goal: In words.
    """

    workload: str
    unit: str
    ours: float | None
    theirs: float | None
    rival: str
    ratio: float | None
    goal: str
    met: bool


def rows_of(results: Results) -> list[Row]:
    """Make the table."""
    return [
        *(_rate_row(results, workload, goal) for workload, goal in _GOALS.items()),
        _bare_row(results),
        *(_alone_row(results, name) for name in ("p50", "p99")),
        _mixed_row(results),
        *_overload_rows(results),
    ]


def best_peer(results: Results) -> str:
    """Name the peer with the most answers a second."""
    peers = {each.side for each in results.closed if each.side != OURS}
    return max(sorted(peers), key=lambda side: _rate(results, side, "naive"))


def _medians(measured: tuple[Measured, ...], side: str, workload: str, figure: Callable[[Measured], float]) -> float:
    return statistics.median(figure(each) for each in measured if (each.side, each.workload) == (side, workload))


def _rate(results: Results, side: str, workload: Workload) -> float:
    return _medians(results.closed, side, workload, lambda each: each.rate)


def _rate_row(results: Results, workload: Workload, goal: float) -> Row:
    peer = best_peer(results)
    ours, theirs = _rate(results, OURS, workload), _rate(results, peer, "naive")
    return _ratio_row(f"{workload}, 8 connections", ours, theirs, peer, goal)


def _bare_row(results: Results) -> Row:
    ours, theirs = _rate(results, OURS, "by id fp32"), statistics.median(results.bare)
    return _ratio_row("by id fp32, 8 connections", ours, theirs, "bare ONNX Runtime, naive graph", 3.0)


def _ratio_row(workload: str, ours: float, theirs: float, rival: str, goal: float) -> Row:
    ratio = ours / theirs if theirs > 0 else None
    return Row(
        workload=workload,
        unit="requests/s",
        ours=ours,
        theirs=theirs,
        rival=rival,
        ratio=ratio,
        goal=f"≥ {goal:g}",
        met=ratio is not None and ratio >= goal,
    )


def _alone_row(results: Results, name: Literal["p50", "p99"]) -> Row:
    def figure(each: Measured) -> float:
        return each.p50_ms if name == "p50" else each.p99_ms

    peers = sorted({each.side for each in results.closed if each.side != OURS})
    of_peers = {peer: _medians(results.closed, peer, "alone", figure) for peer in peers}
    peer = min(of_peers, key=lambda side: of_peers[side])
    ours, theirs = _medians(results.closed, OURS, "alone", figure), of_peers[peer]
    return Row(
        workload=f"inline fp32, one connection, {name}",
        unit="ms",
        ours=ours,
        theirs=theirs,
        rival=peer,
        ratio=ours / theirs,
        goal="< 1",
        met=ours < theirs,
    )


def _mixed_row(results: Results) -> Row:
    spread = {
        side: _medians(results.mixed, side, "mixed at 70 %", _spread)
        for side in sorted({each.side for each in results.mixed})
    }
    rival = next((side for side in spread if side != OURS), "–")
    answered = _medians(results.mixed, OURS, "mixed at 70 %", _answered)
    return Row(
        workload=f"by id fp32, 50–1,000 candidates, open loop at 70 % of capacity ({answered:.1%} answered)",
        unit="p99 / p50",
        ours=spread[OURS],
        theirs=spread.get(rival),
        rival=rival,
        ratio=spread[OURS],
        goal="≤ 2.5",
        met=spread[OURS] <= 2.5 and answered >= _NEARLY_ALL,
    )


def _spread(each: Measured) -> float:
    return each.p99_ms / each.p50_ms if math.isfinite(each.p50_ms) else math.inf


def _answered(each: Measured) -> float:
    return each.statuses.get(200, 0) / max(1, sum(each.statuses.values()))


def _overload_rows(results: Results) -> list[Row]:
    rival = next((each.side for each in results.overload if each.side != OURS), "–")
    ours, theirs = ([each for each in results.overload if each.side == side] for side in (OURS, rival))
    rows = (
        ("goodput", "of capacity", _goodput, "≥ 0.9", lambda value: value >= 0.9),
        ("p99 of refusals", "ms", _refusal, "≤ 5", lambda value: value <= 5.0),
        ("refusals with Retry-After", "of all 429", _told, "1", lambda value: value == 1.0),
        ("time-outs and broken", "requests", _lost, "0", lambda value: value == 0.0),
    )
    return [_overload_row(ours, theirs, rival, *row) for row in rows]


def _overload_row(
    ours: list[Overload],
    theirs: list[Overload],
    rival: str,
    name: str,
    unit: str,
    figure: Callable[[Overload], float | None],
    goal: str,
    is_met: Callable[[float], bool],
) -> Row:
    value = _median(ours, figure)
    return Row(
        workload=f"by id fp32, 3× overload, {name}",
        unit=unit,
        ours=value,
        theirs=_median(theirs, figure),
        rival=rival,
        ratio=value,
        goal=goal,
        met=value is not None and is_met(value),
    )


def _median(runs: list[Overload], figure: Callable[[Overload], float | None]) -> float | None:
    values = [value for value in map(figure, runs) if value is not None]
    return statistics.median(values) if values else None


def _goodput(run: Overload) -> float:
    return run.goodput / run.capacity if run.capacity else 0.0


def _refusal(run: Overload) -> float | None:
    return run.refusal_p99_ms


def _told(run: Overload) -> float | None:
    return run.told_to_wait


def _lost(run: Overload) -> float:
    return float(run.statuses.get(TIMED_OUT, 0) + run.statuses.get(BROKEN, 0))
