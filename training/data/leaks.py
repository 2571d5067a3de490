"""Refuses to train where a feature alone gives a label away: its column holds what is only known afterwards.

Looked at on encoded training rows, each feature by itself:

- a number by its value, and by whether it differs from its commonest value (a field that is empty before the click);
- an id by the mean label of its own rows in one half of the lists, which scores the other half: an id that occurs
  once says nothing about the other half, however well it would fit its own; of a sequence, the newest id.

A binary label is given away by an AUC above 0.999 or below 0.001, any other by a rank correlation beyond ±0.999.
Strong and honest features stay below: never married from household status, in the census, has 0.98.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import SideArrays
from contract.features import SIDES, FeatureSchema, Side
from contract.scaling import as_one_number
from training.data.columns import EncodedSplit
from training.data.format import LabelDeclaration
from training.errors import InvalidOption, LabelLeak
from training.metrics import auc, spearman

__all__ = ["Evidence", "evidence", "refuse_leaks"]

Array = NDArray[Any]
LIMIT = 0.999
_ROWS = 50_000
_FEWEST = 20


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """How well one feature alone tells one label.

    Args:
        measure: ``AUC`` or ``Spearman``.
        figure: Its value; of several ways to read the feature, the one that tells most.
    """

    feature: str
    label: str
    measure: str
    figure: float

    @property
    def strength(self) -> float:
        """The figure without its direction: 0.5 to 1 of an AUC, 0 to 1 of a correlation."""
        return max(self.figure, 1.0 - self.figure) if self.measure == "AUC" else abs(self.figure)


def refuse_leaks(
    schema: FeatureSchema, train: EncodedSplit, labels: Iterable[LabelDeclaration], *, allowed: Sequence[str] = ()
) -> None:
    """Refuse data in which a feature gives a label away.

    Args:
        allowed: Fields that may.

    Raises:
        LabelLeak: Naming each such feature, its label and the figure.
        InvalidOption: When a field that may is none.
    """
    fields = [field.name for field in schema.fields]
    if strange := sorted(set(allowed) - set(fields)):
        raise InvalidOption(f"there is no field {strange[0]!r} to allow", fix=f"fields are: {', '.join(fields)}")
    found = chain.from_iterable(evidence(schema, train, label) for label in labels)
    leaks = [each for each in found if each.strength > LIMIT and each.feature not in allowed]
    if leaks:
        sentences = "; ".join(
            f"feature {each.feature!r} alone gives away label {each.label!r} ({each.measure} {each.figure:.4f})"
            for each in leaks
        )
        raise LabelLeak(
            sentences, fix="leave it out of the data, or --allow-leak it if it is known before the impression"
        )


def evidence(schema: FeatureSchema, train: EncodedSplit, label: LabelDeclaration) -> list[Evidence]:
    """Measure how well each feature alone tells a label; nothing where too few rows have the label to say."""
    is_binary = label.kind == "binary"
    rows = _rows(np.asarray(train.labels[label.name]), is_binary)
    if not len(rows):
        return []
    lists = np.searchsorted(train.offsets, rows, side="right") - 1
    target, in_first = train.labels[label.name][rows].astype(np.float64), _halves(lists)
    places: dict[Side, Array] = {"request": lists, "candidate": rows}
    found = []
    for side in SIDES:
        for name, column, is_id in _columns(schema, side, getattr(train, side).take(places[side])):
            ways = [_by_id(column, target, in_first)] if is_id else _by_number(column, target)
            figures = [auc(y, x) if is_binary else spearman(y, x) for y, x in ways]
            each = [
                Evidence(feature=name, label=label.name, measure="AUC" if is_binary else "Spearman", figure=figure)
                for figure in figures
                if np.isfinite(figure)
            ]
            found += [max(each, key=lambda one: one.strength)] if each else []
    return found


def _rows(values: Array, is_binary: bool) -> Array:
    """Choose rows that have the label, evenly, of each class alike; none where a class has too few to judge by."""
    groups = [values > 0.5, values <= 0.5] if is_binary else [np.isfinite(values)]
    places = [np.flatnonzero(group) for group in groups]
    if min(len(place) for place in places) < _FEWEST:
        return np.zeros(0, dtype=np.int64)
    return np.sort(np.concatenate([place[:: 1 + len(place) // _ROWS] for place in places]))


def _halves(lists: Array) -> Array:
    """Put each list into one of two halves, by its number's hash: neighbours do not alternate in step with the rows."""
    return (lists.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(63)).astype(bool)


def _columns(schema: FeatureSchema, side: Side, arrays: SideArrays) -> Iterator[tuple[str, Array, bool]]:
    """Give name, values and whether they are ids, of each feature of one side."""
    for name, span in schema.id_spans(side).items():
        yield name, arrays.ids[:, span.start], True
    spans = schema.dense_spans(side)
    for number in schema.numbers_on(side):
        yield number.name, as_one_number(arrays.dense[:, spans[number.name]]), False


def _by_number(column: Array, target: Array) -> list[tuple[Array, Array]]:
    values, counts = np.unique(column, return_counts=True)
    commonest = values[np.argmax(counts)]
    return [(target, column), (target, (column != commonest).astype(np.float64))]


def _by_id(ids: Array, target: Array, in_first: Array) -> tuple[Array, Array]:
    """Give the second half's labels, and the first half's mean label of the same id; the overall mean counts as one."""
    overall = target[in_first].mean() if in_first.any() else 0.0
    _, place = np.unique(ids, return_inverse=True)
    size = int(place.max()) + 1
    sums = np.bincount(place[in_first], weights=target[in_first], minlength=size)
    means = (sums + overall) / (np.bincount(place[in_first], minlength=size) + 1.0)
    return target[~in_first], means[place[~in_first]]
