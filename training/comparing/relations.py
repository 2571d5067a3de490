"""How labels relate, on the rows where both are defined: a number a pair that says what sharing may give.

J. Ma et al. (MMoE, KDD 2018, https://doi.org/10.1145/3219819.3220007) measure the relation of two tasks by Pearson's
correlation of their labels; rank correlation stands beside it for durations, and containment for funnels.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.frozen import Frozen
from training.data.format import LabelDeclaration
from training.metrics import spearman

__all__ = ["LabelFacts", "Relation", "label_facts", "relations", "smallest_side"]

Array = NDArray[Any]
_SAMPLE_ROWS = 1_000_000
_HAPPENED = 0.5


class LabelFacts(Frozen):
    """One label.

    Args:
        defined: Share of all rows that have it.
        mean: Over those rows: the rate of a binary label, the mean of an amount.
        given: Label that has to be 1 for this one to be defined, as the data set declares it.
    """

    name: str
    kind: str
    rows: int
    defined: float
    mean: float | None
    given: str | None = None


class Relation(Frozen):
    """Two labels on the rows where both are defined.

    Args:
        pearson: None where one of them is constant there, as a label is on the rows of its own consequence.
        spearman: Of ranks, ties sharing their mean; None as above.
        first_given_second: P(first | second), of two binary labels; None where the second never happens.
        second_given_first: P(second | first).
    """

    first: str
    second: str
    rows: int
    pearson: float | None
    spearman: float | None
    first_given_second: float | None
    second_given_first: float | None


def label_facts(labels: Mapping[str, Array], declared: Sequence[LabelDeclaration]) -> tuple[LabelFacts, ...]:
    """Describe every label.

    Args:
        labels: Name to ``[N]``, NaN where not defined.
        declared: What the data set says of them.
    """
    return tuple(_facts(label, np.asarray(labels[label.name])) for label in declared)


def relations(labels: Mapping[str, Array], declared: Sequence[LabelDeclaration]) -> tuple[Relation, ...]:
    """Relate every pair, in the order declared; a long split is thinned evenly to a million rows."""
    thinned = {name: np.asarray(column[:: 1 + len(column) // _SAMPLE_ROWS]) for name, column in labels.items()}
    return tuple(_relation(a, b, thinned[a.name], thinned[b.name]) for a, b in combinations(declared, 2))


def smallest_side(labels: Mapping[str, Array], declared: Sequence[LabelDeclaration]) -> dict[str, int]:
    """Count the rows of each binary label's rarer class, and the rows that have each other label."""
    return {label.name: _rarer(np.asarray(labels[label.name]), label.kind) for label in declared}


def _rarer(column_N: Array, kind: str) -> int:
    defined = column_N[np.isfinite(column_N)]
    happened = int((defined > _HAPPENED).sum())
    return min(happened, len(defined) - happened) if kind == "binary" else len(defined)


def _facts(label: LabelDeclaration, column_N: Array) -> LabelFacts:
    defined = column_N[np.isfinite(column_N)]
    return LabelFacts(
        name=label.name,
        kind=label.kind,
        rows=len(defined),
        defined=len(defined) / max(1, len(column_N)),
        mean=float(defined.mean(dtype=np.float64)) if len(defined) else None,
        given=label.given,
    )


def _relation(first: LabelDeclaration, second: LabelDeclaration, a_N: Array, b_N: Array) -> Relation:
    both = np.isfinite(a_N) & np.isfinite(b_N)
    a, b = a_N[both].astype(np.float64), b_N[both].astype(np.float64)
    are_events = first.kind == second.kind == "binary"
    return Relation(
        first=first.name,
        second=second.name,
        rows=len(a),
        pearson=_pearson(a, b),
        spearman=None if _is_constant(a) or _is_constant(b) else spearman(a, b),
        first_given_second=_share(a[b > _HAPPENED]) if are_events else None,
        second_given_first=_share(b[a > _HAPPENED]) if are_events else None,
    )


def _pearson(a: Array, b: Array) -> float | None:
    return None if _is_constant(a) or _is_constant(b) else float(np.corrcoef(a, b)[0, 1])


def _share(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None


def _is_constant(values: Array) -> bool:
    return len(values) < 2 or bool(np.ptp(values) == 0)
