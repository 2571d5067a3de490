"""The smallest change of one head that would move a result one place up, all other candidates held as they are.

For each result and head, distances from the head's value grow by doubling, both ways and within what the unit allows,
until the score passes that of the result above; bisection then closes in. All results, heads and ways are tried at
once. A formula that rises and falls within one doubling may hide a smaller change, and a change of less than about
1e-25 of the head's value is given as that much. Listwise functions keep their
list's statistics (:mod:`contract.explanation.held`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray, IntArray
from contract.explanation.held import Held, hold
from contract.formula import Formula
from contract.formula.grammar import Call
from contract.formula.listwise import Values, over_lists
from contract.formula.quiet import quiet
from contract.formula.running import step_of
from contract.tasks import Unit

__all__ = ["Moves", "moves_of"]

_DOMAINS: dict[Unit, tuple[float, float]] = {
    "probability": (0.0, 1.0),
    "seconds": (0.0, np.inf),
    "log_seconds": (0.0, np.inf),
    "count": (0.0, np.inf),
    "value": (-np.inf, np.inf),
}
_FARTHEST = 1e6  # times the head's value, or times 1 where that is below 1
_DOUBLINGS = 64
_HALVINGS = 44
_WAYS = np.array([1.0, -1.0])[:, None]


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What would move each of K results one place up.

    Args:
        heads: The H heads that the formula reads, by name.
        absolute: ``[K, H]``: what to add to the head's value; NaN where no change of this head alone is enough, and for
            the first result.
        relative: ``[K, H]``: the same as a part of the head's value; NaN also where that is 0.
    """

    heads: tuple[str, ...]
    absolute: FloatArray
    relative: FloatArray


def moves_of(
    formula: Formula, columns: Mapping[str, Any], scores: FloatArray, order: IntArray, units: Mapping[str, Unit]
) -> Moves:
    """Find the moves of the results in *order*.

    Args:
        columns: Value of every variable of the formula, float64 ``[N]`` or one float.
        scores: Of all candidates, ``[N]``, -inf where not finite.
        order: Positions of the results, ``[K]``, best first.
        units: Of the heads.
    """
    heads = tuple(sorted(formula.variables & units.keys()))
    values = np.empty((len(order), len(heads)))
    for number, head in enumerate(heads):
        values[:, number] = np.broadcast_to(columns[head], scores.shape)[order]
    absolute = np.full_like(values, np.nan)
    if heads and len(order) > 1:
        domains = np.array([_DOMAINS[units[head]] for head in heads])
        search = _Search(formula=formula, columns=columns, scores=scores, order=order, heads=heads, domains=domains)
        absolute[1:] = quiet().run(search.smallest, values[1:])
    with np.errstate(all="ignore"):
        relative = np.where(values == 0, np.nan, absolute / np.abs(values))
    return Moves(heads=heads, absolute=absolute, relative=relative)


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Trials of all results below the first (M), heads (H) and ways (2: up, down) at once, as arrays ``[H, 2, M]``."""

    formula: Formula
    columns: Mapping[str, Any]
    scores: FloatArray
    order: IntArray
    heads: tuple[str, ...]
    domains: FloatArray
    held: dict[Call, Held] = field(default_factory=dict)

    def smallest(self, values: FloatArray) -> FloatArray:
        """Give the smallest changes ``[M, H]`` from the heads' *values* ``[M, H]``; NaN where there is none."""
        start = values.T[:, None, :]
        farthest = self._farthest(start)
        low, high = self._bracket(start, farthest)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            passed = self._passes(start, middle)
            low, high = np.where(passed, low, middle), np.where(passed, middle, high)
        up, down = high[:, 0], high[:, 1]  # NaN where that way leads nowhere
        return np.where((up <= down) | np.isnan(down), up, -down).T

    def _farthest(self, start: FloatArray) -> FloatArray:
        edges = self.domains[:, ::-1, None]  # up ends at the upper edge
        reach = _FARTHEST * np.maximum(np.abs(start), 1.0)
        return np.maximum(np.where(np.isfinite(edges), (edges - start) * _WAYS, reach), 0.0)

    def _bracket(self, start: FloatArray, farthest: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the last distance that was too short and the first that is enough; NaN where none is."""
        steps = np.concatenate(([0.0], 0.5 ** np.arange(_DOUBLINGS - 1, -1, -1)))
        distances = steps[:, None, None, None] * farthest
        passed = self._passes(start, distances)
        passed[0] = False
        first = np.argmax(passed, axis=0)[None]
        high = np.take_along_axis(distances, first, axis=0)[0]
        low = np.take_along_axis(distances, np.maximum(first - 1, 0), axis=0)[0]
        found = passed.any(axis=0)
        return np.where(found, low, np.nan), np.where(found, high, np.nan)

    def _passes(self, start: FloatArray, distances: FloatArray) -> NDArray[np.bool_]:
        """Tell whether the result would stand before the one above; as for the ranking, equals keep their order."""
        moved = np.clip(start + _WAYS * distances, self.domains[:, :1, None], self.domains[:, 1:, None])
        above, rows = self.order[:-1], self.order[1:]
        scores = self._scored(moved)
        is_better = (scores > self.scores[above]) | ((scores == self.scores[above]) & (rows < above))
        return np.asarray(is_better & np.isfinite(scores))

    def _scored(self, moved: FloatArray) -> FloatArray:
        """Score trials ``[…, H, 2, M]``, each with its own head moved."""

        def spread(column: Any) -> Values:
            everyone = np.broadcast_to(column, self.scores.shape)
            return np.broadcast_to(everyone[self.order[1:]], moved.shape).copy()

        values = {name: spread(column) for name, column in self.columns.items() if np.ndim(column)}
        for number, head in enumerate(self.heads):
            values[head] = spread(self.columns[head])
            values[head][..., number, :, :] = moved[..., number, :, :]
        flat = {name: trials.ravel() for name, trials in values.items()}
        scores = self.formula.step({**self.columns, **flat}, self._over_list)
        return np.broadcast_to(scores, moved.size).reshape(moved.shape)

    def _over_list(self, call: Call, value: Any) -> Any:
        if call not in self.held:
            size = len(self.scores)
            argument = step_of(call.arguments[0])
            everyone = argument(self.columns, lambda inner, of: over_lists(inner.name, of, size, None))
            self.held[call] = hold(call.name, np.broadcast_to(everyone, (size,)))
        return self.held[call](value)
