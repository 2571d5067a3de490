"""What a formula's parts measure, and a warning where that cannot be meant; checked when a profile is written.

Every part has a power of seconds and a kind. A weight, a field and a head of unit ``value`` are free: they take
whatever unit is needed. A number takes part in a sum of anything (``1 + duration_seconds``) but changes no unit in a
product (``0.1 * duration_seconds`` is still seconds). Logarithms, ``rank``, ``zscore``, ``minmax``, ``softmax`` and
``sigmoid`` give numbers without a unit, which is how seconds come to be added to a probability.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from contract.formula.compiled import Formula
from contract.formula.folding import fold
from contract.formula.grammar import COMPARISONS, Binary, Call, Negative, Node, Number, Variable
from contract.formula.parsing import parse
from contract.formula.unparsing import unparse
from contract.tasks import Unit

__all__ = ["FormulaWarning", "check_units"]


@dataclass(frozen=True, kw_only=True)
class FormulaWarning:
    """A part of a formula that runs but is probably not meant.

    Args:
        position: Character where the part begins, from 1.
        detail: One sentence: what is odd.
        fix: One sentence: how to mend it.
    """

    position: int
    detail: str
    fix: str


def check_units(formula: str | Formula, units: Mapping[str, Unit | None]) -> tuple[FormulaWarning, ...]:
    """Look for sums, comparisons and functions of units that do not go together.

    Args:
        formula: Compiled, or its text.
        units: Of the heads; None, or a name left out, is a field or a weight.

    Raises:
        FormulaError: When a text cannot be read, or has a constant part that can never be right.
    """
    tree = fold(formula.tree if isinstance(formula, Formula) else parse(formula))
    checker = _Checker(units)
    checker.measure(tree)
    return tuple(sorted(checker.warnings, key=lambda warning: warning.position))


@dataclass(frozen=True)
class _Measure:
    """What a part measures; *seconds* is the power of seconds in it."""

    kind: Literal["free", "number", "plain", "probability", "log", "truth"]
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.seconds:
            return "seconds" if self.seconds == 1 else f"seconds to the power of {self.seconds:g}"
        named = {"probability": "a probability", "log": "a logarithm of seconds", "truth": "a comparison"}
        return named.get(self.kind, "a number without a unit")


_FREE, _PLAIN, _LOG = _Measure("free"), _Measure("plain"), _Measure("log")
_PROBABILITY, _TRUTH = _Measure("probability"), _Measure("truth")
_HEADS: dict[Unit, _Measure] = {
    "probability": _PROBABILITY,
    "seconds": _Measure("plain", 1.0),
    "log_seconds": _LOG,
    "count": _PLAIN,
    "value": _FREE,
}
_VERBS = {"+": "adds", "-": "subtracts", "min": "takes the min of", "max": "takes the max of", "clip": "clips"}


class _Checker:
    """Measures a tree from its leaves up, and collects what is odd."""

    def __init__(self, units: Mapping[str, Unit | None]) -> None:
        self._units = units
        self.warnings: list[FormulaWarning] = []

    def measure(self, node: Node) -> _Measure:
        if isinstance(node, Number):
            return _Measure("number")
        if isinstance(node, Variable):
            unit = self._units.get(node.name)
            return _FREE if unit is None else _HEADS[unit]
        if isinstance(node, Negative):
            return _unbounded(self.measure(node.operand))
        if isinstance(node, Binary):
            return self._binary(node)
        return self._call(node, [self.measure(argument) for argument in node.arguments])

    def _warn(self, node: Node, what: str, fix: str) -> None:
        text = unparse(node)
        shown = text if len(text) <= 60 else f"{text[:57]}…"
        self.warnings.append(FormulaWarning(position=node.position, detail=f"`{shown}` {what}", fix=fix))

    def _binary(self, node: Binary) -> _Measure:
        left, right = self.measure(node.left), self.measure(node.right)
        if node.operator in COMPARISONS:
            self._joined(node, "compares", left, right)
            return _TRUTH
        if node.operator in "+-":
            joined = self._joined(node, _VERBS[node.operator], left, right)
            # 1 - p is the probability of the opposite, 1 - (a < b) its truth; no other sum stays within 0 and 1.
            return right if node.operator == "-" and left.kind == "number" else _unbounded(joined)
        if node.operator == "**":
            return self._power(node, node.right, left, right)
        return _product(left, right) if node.operator == "*" else _quotient(left, right)

    def _joined(self, node: Node, verb: str, *parts: _Measure) -> _Measure:
        """Give what parts that should measure the same measure together."""
        bound = [part for part in parts if part.kind not in ("free", "number")]
        if not bound:
            return _FREE if _FREE in parts else _Measure("number")
        first = bound[0]
        other = next((part for part in bound if part.seconds != first.seconds), None)
        if other is not None:
            self._warn(
                node,
                f"{verb} {first} and {other}",
                "give each part a weight of its own, or take the seconds without their unit: log1p(…) or rank(…)",
            )
            return _FREE
        return first if all(part == first for part in bound) else _Measure("plain", first.seconds)

    def _power(self, node: Node, exponent: Node, base: _Measure, power: _Measure) -> _Measure:
        if power.seconds and power.kind != "free":
            self._warn(node, f"raises {base} to {power}", "take the exponent without its unit: log1p(…) or rank(…)")
            return _FREE
        if base.kind == "free" or (base.seconds and not isinstance(exponent, Number)):
            return _FREE
        return _Measure("plain", base.seconds * exponent.value if isinstance(exponent, Number) else 0.0)

    def _call(self, node: Call, arguments: list[_Measure]) -> _Measure:
        first = arguments[0]
        if node.name in ("min", "max", "clip"):
            return self._joined(node, _VERBS[node.name], *arguments)
        if node.name == "where":
            return self._where(node, arguments)
        if node.name == "pow":
            return self._power(node, node.arguments[1], *arguments)
        if node.name in ("log", "log1p"):
            return self._logarithm(node, first)
        if node.name in ("exp", "sigmoid", "softmax"):
            return self._exponential(node, first)
        if node.name == "sqrt":
            return replace(first, seconds=first.seconds / 2)
        return first if node.name == "abs" else _PLAIN  # rank, zscore, minmax

    def _where(self, node: Call, arguments: list[_Measure]) -> _Measure:
        condition, *branches = arguments
        if condition.kind not in ("truth", "free"):
            self._warn(
                node, f"has a condition that is never a comparison but {condition}", "compare it: where(x > 0.5, …)"
            )
        return self._joined(node, "chooses between", *branches)

    def _logarithm(self, node: Call, inner: _Measure) -> _Measure:
        if inner.kind == "log":
            self._warn(node, "takes the logarithm of a logarithm of seconds", "leave one of the two out")
        return _LOG if inner.seconds else _PLAIN

    def _exponential(self, node: Call, inner: _Measure) -> _Measure:
        if inner.seconds:
            what = "takes an exponential of seconds, which a minute already makes 1e26"
            self._warn(node, what, "take the seconds without their unit first: log1p(…) or zscore(…)")
        if node.name == "sigmoid" and inner.kind == "probability":
            self._warn(node, "takes the sigmoid of a probability, which gives 0.5 to 0.73", "leave the sigmoid out")
        if node.name == "exp":
            return _Measure("plain", 1.0) if inner.kind == "log" else _PLAIN
        return _PROBABILITY if node.name == "sigmoid" else _PLAIN


def _unbounded(part: _Measure) -> _Measure:
    return replace(part, kind="plain") if part.kind in ("probability", "truth") else part


def _product(left: _Measure, right: _Measure) -> _Measure:
    if _FREE in (left, right):
        return _FREE
    for one, other in ((left, right), (right, left)):
        if one.kind == "truth" or (one.kind == other.kind == "probability"):
            return other
    return _Measure("plain", left.seconds + right.seconds)


def _quotient(left: _Measure, right: _Measure) -> _Measure:
    return _FREE if _FREE in (left, right) else _Measure("plain", left.seconds - right.seconds)
