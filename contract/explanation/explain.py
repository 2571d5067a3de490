"""Both halves of an explanation from one request's values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.arrays import IntArray
from contract.explanation.moves import Moves, moves_of
from contract.explanation.parts import Parts, parts_of
from contract.formula.running import as_column
from contract.fusion import Fusion
from contract.tasks import Unit

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What the K results of a request consist of, and what would move each one place up.

    Args:
        parts: Terms or factors of each score.
        moves: Changes of single heads.
    """

    parts: Parts
    moves: Moves


def explain(
    fusion: Fusion,
    values: Mapping[str, Any],
    size: int,
    order: IntArray,
    *,
    units: Mapping[str, Unit],
    weights: Mapping[str, float] | None = None,
) -> Explanation:
    """Explain the first K results of one request.

    Args:
        fusion: That scored it.
        values: As :meth:`contract.fusion.Fusion.score` took them.
        size: Number of candidates.
        order: Positions of the results, int64 ``[K]``, from rank 1 on without gaps.
        units: Of the model's heads; only heads are changed in search of a move.
        weights: As for the scores.

    Raises:
        ScoreError: As for the scores.
    """
    scores, _ = fusion.score(values, size, weights=weights)
    merged = {**values, **fusion.weights, **(weights or {})}
    columns = {name: as_column(merged[name]) for name in fusion.formula.variables}
    return Explanation(
        parts=parts_of(fusion.formula, columns, size, order),
        moves=moves_of(fusion.formula, columns, scores, order, units),
    )
