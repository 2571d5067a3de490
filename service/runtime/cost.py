"""What a graph call will take: ``seconds = call + row · rows + request · requests``, fitted while it runs.

Least squares with forgetting, on durations divided by the length of the batch, so that a short batch counts as
much as a long one; no coefficient falls below zero.

A batch that takes more than twice or less than half of what was expected is not learned from: a pause of the
garbage collector says nothing about the next batch. Five such batches in a row, all slow or all fast, are the
truth: then everything known is scaled by their median, because a machine that slows down slows down for every
size, and most of the old evidence fades. A wrong first guess is mended in the same way.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from service.runtime.least_squares import Evidence

__all__ = ["FIRST_GUESS", "Cost", "CostModel"]

_KEEP = 0.998
"""Weight that evidence keeps from batch to batch: the fit looks back over about 500 of them."""
_KNEE_ROWS = 64.0
"""Rows that cost about as much as a call itself; below, a batch is not weighted up any more."""
_YOUNG = 32
_SOLVE_EVERY = 8
"""Batches between fits once there have been some: a fit costs three times what keeping the evidence does."""
_ODD = 2.0
_BELIEVED = 5
_KEPT_ON_CHANGE = 0.2
_GUESSED = ((1, 1), (2048, 1), (2048, 16))
"""Rows and requests at which the first guess counts as observed, faintly: for what traffic never shows."""
_FAINT = 0.03
_LATE_SHARE = 0.01
_MARGIN_STEP = 0.05
_LARGEST_MARGIN = 2.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of a graph call.

    Args:
        call_s: Of the call itself.
        row_s: Of each candidate.
        request_s: Of each request, whatever its length.
    """

    call_s: float
    row_s: float
    request_s: float

    def seconds(self, rows: int, requests: int, calls: int = 1) -> float:
        """Give what *calls* graph calls over so many rows and requests take in all."""
        return calls * self.call_s + rows * self.row_s + requests * self.request_s


FIRST_GUESS = Cost(call_s=1e-3, row_s=1e-5, request_s=5e-5)
"""A ranker of half a million parameters on two cores; used only where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    shape: tuple[float, float, float]
    target: float
    ratio: float


class CostModel:
    """The cost of one graph, learned batch by batch.

    ``cost`` is the fit; ``margin`` is what to multiply a prediction by, so that 99 of 100 batches keep it.

    Args:
        first: What is thought before the first batch.
    """

    def __init__(self, first: Cost = FIRST_GUESS) -> None:
        self.cost = first
        self.margin = 1.0
        self._learned = 0
        self._odd: list[_Seen] = []
        self._evidence = Evidence(3)
        self._guess = _evidence_of(first)

    @classmethod
    def from_runs(cls, runs: Iterable[tuple[int, int, float]]) -> "CostModel":
        """Start from calls that were timed: rows, requests and seconds of each."""
        measured = _evidence_of(FIRST_GUESS)
        for rows, requests, seconds in runs:
            shape, scale = _shape(rows, requests)
            measured.add(shape, scale * seconds)
        return cls(_solved(measured))

    def observe(self, *, rows: int, requests: int, seconds: float) -> None:
        """Learn from one batch that ran."""
        if not (math.isfinite(seconds) and seconds > 0.0 and rows > 0):
            return
        ratio = seconds / max(self.cost.seconds(rows, requests), 1e-9)
        self._move_margin(ratio)
        shape, scale = _shape(rows, requests)
        seen = _Seen(shape=shape, target=scale * seconds, ratio=ratio)
        if 1 / _ODD <= ratio <= _ODD:
            self._odd.clear()
            self._learn([seen])
        else:
            self._doubt(seen)

    def _doubt(self, seen: _Seen) -> None:
        if self._odd and (self._odd[-1].ratio > 1.0) != (seen.ratio > 1.0):
            self._odd.clear()
        self._odd.append(seen)
        if len(self._odd) == _BELIEVED:
            factor = median(odd.ratio for odd in self._odd)
            self._evidence.scale(weight=_KEPT_ON_CHANGE, targets=factor)
            self._guess.scale(weight=1.0, targets=factor)
            self._learn(self._odd)
            self._odd = []

    def _learn(self, batches: list[_Seen]) -> None:
        for seen in batches:
            self._evidence.add(seen.shape, seen.target, keep=_KEEP)
        self._learned += len(batches)
        if len(batches) > 1 or self._learned <= _YOUNG or self._learned % _SOLVE_EVERY == 0:
            self.cost = _solved(self._evidence + self._guess)

    def _move_margin(self, ratio: float) -> None:
        """Track a high quantile of actual against expected by steps (Robbins & Monro 1951); no history is kept."""
        step = _MARGIN_STEP * ((1 - _LATE_SHARE) if ratio > self.margin else -_LATE_SHARE)
        self.margin = min(max(self.margin + step, 1.0), _LARGEST_MARGIN)


def _evidence_of(guess: Cost) -> Evidence:
    evidence = Evidence(3)
    for rows, requests in _GUESSED:
        shape, scale = _shape(rows, requests)
        evidence.add(shape, scale * guess.seconds(rows, requests), weight=_FAINT)
    return evidence


def _solved(evidence: Evidence) -> Cost:
    call_s, row_s, request_s = evidence.solve()
    return Cost(call_s=call_s, row_s=row_s, request_s=request_s)


def _shape(rows: int, requests: int) -> tuple[tuple[float, float, float], float]:
    """Give what the coefficients are multiplied by, and the scale that makes batches of all lengths comparable."""
    scale = 1.0 / (_KNEE_ROWS + rows)
    return (scale, scale * rows, scale * requests), scale
