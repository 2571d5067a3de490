"""Random formulas of the whole grammar, and an oracle that walks one a candidate at a time in plain Python floats.

The oracle reads the text by Python's own parser and knows nothing of ours. Sums, products, quotients and square roots
are rounded the same everywhere; logarithms, exponentials, powers and sums over a list are not, and what comes of
them is *inexact*. Where an inexact value decides (a tie, a cancellation, the edge of overflow), two right answers may
differ: the oracle then raises :class:`Undecided`.
"""

import ast
import math
from itertools import combinations

from hypothesis import strategies as st

LISTWISE = ("rank", "zscore", "minmax", "softmax")
UNARY = ("log", "log1p", "exp", "sqrt", "abs", "sigmoid")
NAMES = "abc"
SPECIAL = (-3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, math.nan, math.inf, -math.inf)

numbers = st.sampled_from(["0", "1", "2", "3", "0.5", ".25", "1e-3", "10", "1_000", "7e2"])
leaves = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), numbers)


def _arguments(texts):
    return ", ".join(texts[:8])


def _branches(inner):
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner),
        st.builds("{}({})".format, st.sampled_from(UNARY), inner),
        st.builds("{}({})".format, st.sampled_from(LISTWISE), inner),
        st.builds("pow({}, {})".format, inner, inner),
        st.builds(
            "{}({})".format, st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=8).map(", ".join)
        ),
        st.builds("{}({}, {}, {})".format, st.sampled_from(["clip", "where"]), inner, inner, inner),
        st.builds("{}{}".format, st.sampled_from("-+"), inner),
    )


formulas = st.recursive(leaves, _branches, max_leaves=8)
"""Texts; one may have a constant part that is refused."""
floats = st.one_of(st.sampled_from(SPECIAL), st.floats(-1e6, 1e6))


few = st.integers(1, 6)


def tables(sizes=few):
    """Give columns of equal length for all of :data:`NAMES`."""
    return sizes.flatmap(
        lambda n: st.fixed_dictionaries({name: st.lists(floats, min_size=n, max_size=n) for name in NAMES})
    )


class Undecided(Exception):
    """Rounding alone decides the answer."""


class Oracle:
    """The value of a formula for each candidate of one request.

    Args:
        text: One line.
        table: Name to a list with one float a candidate.
    """

    def __init__(self, text, table):
        self._root = ast.parse(text.strip(), mode="eval").body
        self._table = table
        self._rows = range(len(table[NAMES[0]]))

    @property
    def is_exact(self):
        """Whether every operation is rounded the same everywhere."""
        return _is_exact(self._root)

    def values(self):
        """Give one float a candidate; raises Undecided."""
        return [self._value(self._root, row) for row in self._rows]

    def _value(self, node, row):
        value = self._plain_value(node, row)
        if not _is_exact(node) and math.isfinite(value) and value != 0 and not 1e-290 < abs(value) < 1e290:
            raise Undecided
        return value

    def _plain_value(self, node, row):
        if isinstance(node, ast.Constant):
            return float(node.value)
        if isinstance(node, ast.Name):
            return float(self._table[node.id][row])
        if isinstance(node, ast.UnaryOp):
            operand = self._value(node.operand, row)
            return -operand if isinstance(node.op, ast.USub) else operand
        if isinstance(node, ast.Call):
            return self._call(node, row)
        if isinstance(node, ast.Compare):
            return self._compare(node, row)
        left, right = self._value(node.left, row), self._value(node.right, row)
        result = _BINARY[type(node.op)](left, right)
        if isinstance(node.op, ast.Add | ast.Sub) and not _is_exact(node):
            _refuse_cancellation(result, left, right)
        if isinstance(node.op, ast.Pow):
            self._check_power(node.left, node.right, left, right)
        return result

    def _compare(self, node, row):
        left, right = self._value(node.left, row), self._value(node.comparators[0], row)
        _refuse_near_tie(node, left, right)
        return float(_COMPARE[type(node.ops[0])](left, right))

    def _call(self, node, row):
        name = node.func.id
        if name in LISTWISE:
            return self._listwise(name, node.args[0], row)
        values = [self._value(argument, row) for argument in node.args]
        if name == "where":
            _refuse_near_tie(node.args[0], values[0], 0.0)
            return values[1] if values[0] != 0 else values[2]
        if name == "pow":
            self._check_power(*node.args, *values)
            return _power(*values)
        if name in ("min", "max", "clip"):
            return _extreme(name, values)
        result = _UNARY[name](values[0])
        if name in ("log", "log1p") and not _is_exact(node.args[0]) and abs(result) < 1e-6:
            raise Undecided
        return result

    def _check_power(self, base_node, exponent_node, base, exponent):
        if not _is_exact(base_node) and abs(exponent) > 1e4:
            raise Undecided
        if not _is_exact(exponent_node) and base <= 0 and math.isfinite(exponent):
            raise Undecided  # whether it is a whole number decides
        if exponent == 0.5 and (base == -math.inf or (base == 0 and math.copysign(1, base) < 0)):
            raise Undecided  # NumPy takes the square root for one exponent, C99's power for many

    def _listwise(self, name, argument, row):
        everyone = [self._value(argument, other) for other in self._rows]
        others = [x for x in everyone if math.isfinite(x)]
        for x, y in combinations(others, 2):
            _refuse_near_tie(argument, x, y)
        return listwise(name, everyone[row], others)


def listwise(name, x, others):
    """Give one candidate's value of a listwise function, *others* being all finite values of its list."""
    if not math.isfinite(x):
        return math.nan
    if name == "rank":
        beaten = sum(y < x for y in others) + (sum(y == x for y in others) - 1) / 2
        return beaten / (len(others) - 1) if len(others) > 1 else 1.0
    if name == "softmax":
        return _exp(x - max(others)) / math.fsum(_exp(y - max(others)) for y in others)
    low, high = min(others), max(others)
    if low == high:
        return 0.0
    if not math.isfinite((high - low) ** 2 if high - low < 1e150 else math.inf) or high - low < 1e-6 * max(high, -low):
        raise Undecided  # sums of squares overflow, or the mean takes most digits of the difference
    if name == "minmax":
        return (x - low) / (high - low)
    mean = math.fsum(others) / len(others)
    if x != mean and abs(x - mean) < 1e-6 * max(high, -low):
        raise Undecided
    return (x - mean) / math.sqrt(math.fsum((y - mean) ** 2 for y in others) / len(others))


def _is_exact(node):
    calls = {each.func.id for each in ast.walk(node) if isinstance(each, ast.Call)}
    powers = any(isinstance(each, ast.Pow) for each in ast.walk(node))
    return not powers and not calls & {*LISTWISE, "log", "log1p", "exp", "sigmoid", "pow"}


def _refuse_near_tie(node, left, right):
    if not _is_exact(node) and math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-9):
        raise Undecided


def _refuse_cancellation(result, left, right):
    if math.isfinite(result) and abs(result) < 1e-4 * max(abs(left), abs(right)):
        raise Undecided


def _divide(left, right):
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1, right)


def _power(base, exponent):
    """The power of C99, which knows no exception."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        if base != 0:
            return math.nan
        return math.copysign(math.inf, base) if exponent % 2 == 1 else math.inf


def _exp(x):
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _logarithm(function, edge):
    return lambda x: function(x) if x > edge or math.isnan(x) else (-math.inf if x == edge else math.nan)


def _extreme(name, values):
    if any(map(math.isnan, values)):
        return math.nan
    if len({math.copysign(1, x) for x in values if x == 0}) > 1:
        raise Undecided  # which of 0 and -0 is smaller is not said
    if name == "clip":
        return min(max(values[0], values[1]), values[2])
    return min(values) if name == "min" else max(values)


_UNARY = {
    "log": _logarithm(math.log, 0.0),
    "log1p": _logarithm(math.log1p, -1.0),
    "exp": _exp,
    "sqrt": lambda x: math.sqrt(x) if x >= 0 or math.isnan(x) else math.nan,
    "abs": abs,
    "sigmoid": lambda x: 1.0 / (1.0 + _exp(-x)),
}
_BINARY = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: _divide,
    ast.Pow: _power,
}
_COMPARE = {
    ast.Lt: lambda left, right: left < right,
    ast.LtE: lambda left, right: left <= right,
    ast.Gt: lambda left, right: left > right,
    ast.GtE: lambda left, right: left >= right,
    ast.Eq: lambda left, right: left == right,
    ast.NotEq: lambda left, right: left != right,
}
