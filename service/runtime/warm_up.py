"""What a graph costs on this machine, measured when it is loaded, so that the first requests are let in rightly.

The longest call is made here too: the memory that it takes is taken before traffic comes.
"""

from collections.abc import Callable

import numpy as np

from contract.arrays import GraphInputs, Predictions
from service.ports import Clock
from service.runtime.cost import CostModel

__all__ = ["measure_cost"]

_LONGEST_ROWS = 2048
_SHAPES = ((1, 1), (64, 1), (512, 1), (_LONGEST_ROWS, 1), (_LONGEST_ROWS, 16))
_REPEATS = 2


def measure_cost(
    run: Callable[[GraphInputs], Predictions], golden: GraphInputs, *, max_batch_rows: int, clock: Clock
) -> CostModel:
    """Time calls from one row to a full batch, each twice; the faster counts, as it was disturbed less.

    Raises:
        InferenceFailed: When the graph fails.
    """
    runs = []
    for rows, requests in _SHAPES:
        inputs = _repeat(golden, min(rows, max_batch_rows), min(requests, max_batch_rows))
        seconds = min(_seconds(run, inputs, clock) for _ in range(_REPEATS))
        runs.append((len(inputs.request_index), len(inputs.request), seconds))
    return CostModel.from_runs(runs)


def _seconds(run: Callable[[GraphInputs], Predictions], inputs: GraphInputs, clock: Clock) -> float:
    started = clock()
    run(inputs)
    return clock() - started


def _repeat(golden: GraphInputs, rows: int, requests: int) -> GraphInputs:
    """Lay golden rows behind each other until there are so many; candidates are shared out evenly."""
    candidates = golden.candidate.take(np.arange(rows) % len(golden.candidate))
    callers = golden.request.take(np.arange(requests) % len(golden.request))
    return GraphInputs(request=callers, candidate=candidates, request_index=np.arange(rows) * requests // rows)
