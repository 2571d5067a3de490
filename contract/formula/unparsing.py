"""A tree back to text, with no more parentheses than it needs: reading that text gives the same tree."""

import math

from contract.formula.grammar import COMPARISONS, Binary, Call, Negative, Node, Number, Variable

__all__ = ["unparse"]

_COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(6)
_LEVEL = {**dict.fromkeys(COMPARISONS, _COMPARE), "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "**": _POWER}


def unparse(node: Node) -> str:
    """Write a tree as text."""
    if isinstance(node, Number):
        return _number(node.value)
    if isinstance(node, Variable):
        return node.name
    if isinstance(node, Negative):
        return f"-{_within(node.operand, _SIGN)}"
    if isinstance(node, Call):
        return f"{node.name}({', '.join(map(unparse, node.arguments))})"
    left, right = _sides(node)
    return f"{left} {node.operator} {right}"


def _sides(node: Binary) -> tuple[str, str]:
    level = _LEVEL[node.operator]
    if level == _POWER:  # binds to the right, and a sign needs no parentheses there
        return _within(node.left, _ATOM), _within(node.right, _SIGN)
    # Comparisons do not chain, so both sides of one need parentheses around another.
    return _within(node.left, level + (level == _COMPARE)), _within(node.right, level + 1)


def _within(node: Node, level: int) -> str:
    text = unparse(node)
    return text if _level(node) >= level else f"({text})"


def _level(node: Node) -> int:
    if isinstance(node, Binary):
        return _LEVEL[node.operator]
    if isinstance(node, Negative) or (isinstance(node, Number) and math.copysign(1, node.value) < 0):
        return _SIGN
    return _ATOM


def _number(value: float) -> str:
    is_plain = value.is_integer() and abs(value) < 1e15 and (value or math.copysign(1, value) > 0)
    return repr(int(value)) if is_plain else repr(value)
