"""A tree as nested functions, each a NumPy call over all candidates at once. There is no code to evaluate.

A variable is converted where it is read and let go at once: held any longer, ten columns of 1,000 candidates leave the
processor's nearest cache, which costs more than the arithmetic.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from contract.formula.functions import FUNCTIONS, OPERATORS, Elementwise
from contract.formula.grammar import Binary, Call, Negative, Node, Number, Variable, walk

__all__ = ["OverList", "Step", "as_column", "no_list", "runner_of", "step_of"]

OverList = Callable[[Call, Any], Any]
"""Takes a call of a listwise function and its argument's value; gives the call's."""
Step = Callable[[Mapping[str, Any], OverList], Any]
"""Takes variables as :func:`as_column` does; gives float64 ``[N]``, or one number where it read no array."""

_ARRAY = np.ndarray
_FLOAT = np.dtype(np.float64)


def no_list(call: Call, value: Any) -> Any:
    """Stand in where a tree has no listwise function."""
    raise AssertionError(call, value)


def as_column(value: Any) -> Any:
    """Give a variable's value as a float64 array or a float; an array that is one already comes back itself."""
    if type(value) is _ARRAY:
        return value.astype(_FLOAT, copy=False)
    return value if type(value) is float else np.asarray(value, dtype=_FLOAT)


def runner_of(node: Node) -> Step:
    """Turn a whole tree into what runs it; its result never is an array of the caller's."""
    if isinstance(node, Variable):
        name = node.name
        return lambda values, over_list: np.array(values[name], dtype=_FLOAT)
    step = step_of(node)
    reads = Counter(each.name for each in walk(node) if isinstance(each, Variable))
    repeated = tuple(name for name, times in reads.items() if times > 1)
    if not repeated:
        return step
    return lambda values, over_list: step({**values, **{name: as_column(values[name]) for name in repeated}}, over_list)


def step_of(node: Node) -> Step:
    """Turn a tree into what runs it."""
    if isinstance(node, Number):
        return _constant(node.value)
    if isinstance(node, Variable):
        return _variable(node.name)
    if isinstance(node, Negative):
        return _unary(np.negative, step_of(node.operand))
    if isinstance(node, Binary):
        return _binary(OPERATORS[node.operator], step_of(node.left), step_of(node.right))
    return _call(node)


def _constant(value: float) -> Step:
    return lambda values, over_list: value


def _variable(name: str) -> Step:
    def read(values: Mapping[str, Any], over_list: OverList) -> Any:
        value = values[name]  # then what `as_column` does, without the call
        if type(value) is _ARRAY:
            return value.astype(_FLOAT, copy=False)
        return value if type(value) is float else np.asarray(value, dtype=_FLOAT)

    return read


def _unary(apply: Elementwise, of: Step) -> Step:
    return lambda values, over_list: apply(of(values, over_list))


def _binary(apply: Elementwise, left: Step, right: Step) -> Step:
    return lambda values, over_list: apply(left(values, over_list), right(values, over_list))


def _call(node: Call) -> Step:
    apply = FUNCTIONS[node.name].apply
    first, *others = map(step_of, node.arguments)
    if apply is None:
        return lambda values, over_list: over_list(node, first(values, over_list))
    if not others:
        return _unary(apply, first)
    if FUNCTIONS[node.name].is_chained:
        for other in others:
            first = _binary(apply, first, other)
        return first
    if len(others) == 1:
        return _binary(apply, first, others[0])
    return lambda values, over_list: apply(first(values, over_list), *(step(values, over_list) for step in others))
