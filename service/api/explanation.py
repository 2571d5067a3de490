"""An explanation to documents, one a result."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from contract.explanation import Explanation, Moves, Parts

__all__ = ["explained"]


def explained(explanation: Explanation | None) -> Iterator[dict[str, Any]]:
    """Give the document of each explained result, in order; see :class:`service.api.schemas.Explained`."""
    if explanation is None:
        return
    parts, moves = explanation.parts, explanation.moves
    for row in range(len(parts.values)):
        yield {"kind": parts.kind, "parts": _parts(parts, row), "one_place_up": _moves(moves, row)}


def _parts(parts: Parts, row: int) -> list[dict[str, Any]]:
    columns = zip(parts.texts, parts.values[row].tolist(), parts.shares[row].tolist(), strict=True)
    return [{"part": text, "value": value, "share": share} for text, value, share in columns]


def _moves(moves: Moves, row: int) -> list[dict[str, Any]]:
    """Give the possible moves, cheapest first; a head whose value is 0 comes last, since nothing is relative to it."""
    absolute, relative = moves.absolute[row], moves.relative[row]
    order = np.argsort(np.nan_to_num(np.abs(relative), nan=np.inf), kind="stable")
    return [
        {"head": moves.heads[head], "change": float(absolute[head]), "relative": float(relative[head])}
        for head in order.tolist()
        if np.isfinite(absolute[head])
    ]
