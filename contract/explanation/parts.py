"""A score taken apart: the terms of a sum, or the factors of a product.

The formula's text decides, before any number is known. ``w1 * ctr + w2 * like`` has two terms, and a difference has a
negative one. ``ctr * log1p(duration_seconds) / 60`` has three factors, the last of them ``1 / 60``. Everything else is
one term.

A term's share is its size among the sizes of all terms, ``|t| / sum |t|``. A factor's share is how far it takes the
score from 1, ``|log |f|| / sum |log |f||``: a factor of 10 and one of 0.1 have the same share, a factor of 1 has none,
and a factor of 0 has all of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from contract.arrays import FloatArray, IntArray
from contract.formula import Formula, unparse
from contract.formula.folding import fold
from contract.formula.grammar import Binary, Negative, Node, Number
from contract.formula.listwise import over_lists
from contract.formula.quiet import quiet
from contract.formula.running import Step, step_of

__all__ = ["Parts", "parts_of"]

Kind = Literal["terms", "factors"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the scores of K results consist of.

    Args:
        kind: Whether *values* add up to the score or multiply to it.
        texts: Of the P parts, as the formula writes them.
        values: ``[K, P]``.
        shares: ``[K, P]``, each row adding up to 1; all 0 where no part does anything, NaN where one is not finite.
    """

    kind: Kind
    texts: tuple[str, ...]
    values: FloatArray
    shares: FloatArray


def parts_of(formula: Formula, columns: Mapping[str, Any], size: int, order: IntArray) -> Parts:
    """Take the scores of the results in *order* apart.

    Args:
        columns: Value of every variable of the formula, float64 ``[size]`` or one float.
        order: Positions of the results, ``[K]``.
    """
    split = _split(formula)
    values = np.empty((len(order), len(split.steps)))
    for number, step in enumerate(split.steps):
        value = quiet().run(step, columns, lambda call, value: over_lists(call.name, value, size, None))
        values[:, number] = np.broadcast_to(value, (size,))[order]
    shares = _shares_of_terms(values) if split.kind == "terms" else _shares_of_factors(values)
    return Parts(kind=split.kind, texts=split.texts, values=values, shares=shares)


@dataclass(frozen=True, kw_only=True)
class _Split:
    kind: Kind
    texts: tuple[str, ...]
    steps: tuple[Step, ...]


@lru_cache(maxsize=256)
def _split(formula: Formula) -> _Split:
    nodes = tuple(_terms(formula.tree))
    kind: Kind = "terms"
    if len(nodes) == 1 and len(factors := tuple(_factors(nodes[0]))) > 1:
        nodes, kind = factors, "factors"
    return _Split(kind=kind, texts=tuple(map(unparse, nodes)), steps=tuple(step_of(fold(node)) for node in nodes))


def _terms(node: Node, *, is_subtracted: bool = False) -> Iterator[Node]:
    if isinstance(node, Negative):
        yield from _terms(node.operand, is_subtracted=not is_subtracted)
    elif isinstance(node, Binary) and node.operator in "+-":
        yield from _terms(node.left, is_subtracted=is_subtracted)
        yield from _terms(node.right, is_subtracted=is_subtracted != (node.operator == "-"))
    else:
        yield Negative(node, node.position) if is_subtracted else node


def _factors(node: Node, *, is_divisor: bool = False) -> Iterator[Node]:
    if isinstance(node, Binary) and node.operator in ("*", "/"):
        yield from _factors(node.left, is_divisor=is_divisor)
        yield from _factors(node.right, is_divisor=is_divisor != (node.operator == "/"))
    else:
        yield Binary("/", Number(1.0), node, node.position) if is_divisor else node


def _shares_of_terms(values: FloatArray) -> FloatArray:
    return _among(np.abs(values))


def _shares_of_factors(values: FloatArray) -> FloatArray:
    is_zero = values == 0
    with np.errstate(divide="ignore"):
        sizes = np.abs(np.log(np.abs(values)))
    sizes[is_zero.any(axis=1)] = 0.0
    sizes[is_zero] = 1.0
    sizes[~np.isfinite(values).all(axis=1)] = np.nan
    return _among(sizes)


def _among(sizes: FloatArray) -> FloatArray:
    """Divide each row by its sum."""
    with np.errstate(all="ignore"):
        totals = np.sum(sizes, axis=1, keepdims=True)
        return np.where(totals == 0, 0.0, np.where(np.isfinite(totals), sizes / totals, np.nan))
