"""A list that is longer than a graph call may be, cut into parts and joined again, in order."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from contract.arrays import GraphInputs, Predictions

__all__ = ["join", "split"]


def split(inputs: GraphInputs, max_rows: int) -> list[GraphInputs]:
    """Cut into as few parts as fit, of nearly equal length, so that several runners finish together."""
    rows = len(inputs.request_index)
    count = -(-rows // max_rows)
    if count <= 1:
        return [inputs]
    bounds = [rows * part // count for part in range(count + 1)]
    # Every part carries the request side again: it is one row, and the parts may run in different calls.
    return [inputs.take(slice(start, end)) for start, end in pairwise(bounds)]


def join(parts: Sequence[Predictions]) -> Predictions:
    """Lay the answers of all parts behind each other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
