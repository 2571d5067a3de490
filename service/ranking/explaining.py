"""Why results score what they do, for requests that ask."""

from collections.abc import Mapping
from typing import Any

from contract.arrays import IntArray
from contract.explanation import Explanation, explain
from contract.fusion import Fusion
from contract.manifest import Manifest
from service.ports import Scorer
from service.ranking.query import RankQuery

__all__ = ["EXPLAINED", "explanation_of"]

EXPLAINED = 100
"""Results that are explained at most, from the first on: each costs about as much as scoring a list anew."""


def explanation_of(
    query: RankQuery,
    fusion: Scorer,
    manifest: Manifest,
    values: Mapping[str, Any],
    order: IntArray,
    weights: Mapping[str, float],
) -> Explanation | None:
    """Explain the first results; None where nobody asked, or where a learned fusion made the score."""
    if not query.with_explanation or not isinstance(fusion, Fusion):
        return None
    units = {head.name: head.unit for head in manifest.heads}
    return explain(fusion, values, len(query.item_ids), order[:EXPLAINED], units=units, weights=weights)
