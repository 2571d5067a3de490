"""Constants worked out once, and what can never be right refused."""

import math

from contract.formula.functions import FUNCTIONS
from contract.formula.grammar import Binary, Call, Negative, Node, Number
from contract.formula.quiet import quiet
from contract.formula.refusals import refused
from contract.formula.running import no_list, step_of
from contract.formula.unparsing import unparse

__all__ = ["fold"]


def fold(node: Node) -> Node:
    """Replace every subexpression of numbers alone by its value; listwise functions stay.

    Raises:
        FormulaError: When such a value is not finite, when something is divided by 0, or when a clip's bounds
            are the wrong way round.
    """
    folded = _with_folded_children(node)
    _check_clip(folded)
    if isinstance(folded, Number) or not _is_constant(folded):
        _check_division(folded)
        return folded
    value = float(quiet().run(step_of(folded), {}, no_list))
    if not math.isfinite(value):
        raise refused(
            node.position, f"`{unparse(node)}` is {value}", fix="change its numbers until its value is a finite one"
        )
    return Number(value, node.position)


def _with_folded_children(node: Node) -> Node:
    if isinstance(node, Negative):
        return Negative(fold(node.operand), node.position)
    if isinstance(node, Binary):
        return Binary(node.operator, fold(node.left), fold(node.right), node.position)
    if isinstance(node, Call):
        return Call(node.name, tuple(map(fold, node.arguments)), node.position)
    return node


def _is_constant(node: Node) -> bool:
    if isinstance(node, Negative):
        return isinstance(node.operand, Number)
    if isinstance(node, Binary):
        return isinstance(node.left, Number) and isinstance(node.right, Number)
    return (
        isinstance(node, Call)
        and not FUNCTIONS[node.name].is_listwise
        and all(isinstance(argument, Number) for argument in node.arguments)
    )


def _check_division(node: Node) -> None:
    if isinstance(node, Binary) and node.operator == "/" and isinstance(node.right, Number) and node.right.value == 0:
        raise refused(node.right.position, f"`{unparse(node)}` divides by 0", fix="divide by another number")


def _check_clip(node: Node) -> None:
    if not (isinstance(node, Call) and node.name == "clip"):
        return
    _, low, high = node.arguments
    if isinstance(low, Number) and isinstance(high, Number) and low.value > high.value:
        raise refused(
            low.position,
            f"`{unparse(node)}` has a lower bound above its upper one",
            fix="write clip(value, low, high)",
        )
