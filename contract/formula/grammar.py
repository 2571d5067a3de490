"""What a formula is made of: five kinds of node, each knowing where in the text it began."""

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["COMPARISONS", "MAX_DEPTH", "MAX_LENGTH", "Binary", "Call", "Negative", "Node", "Number", "Variable", "walk"]

MAX_LENGTH = 2_000
MAX_DEPTH = 50

COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, always finite."""

    value: float
    position: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Variable:
    """A head, a field or a weight."""

    name: str
    position: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Negative:
    """A minus sign before an operand."""

    operand: "Node"
    position: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """One of ``+ - * / **`` or of :data:`COMPARISONS` between two operands; it begins where the left one does."""

    operator: str
    left: "Node"
    right: "Node"
    position: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the language."""

    name: str
    arguments: tuple["Node", ...]
    position: int = field(default=1, compare=False)


Node = Number | Variable | Negative | Binary | Call
"""Positions count characters of the text from 1 and play no part in comparing trees."""


def walk(node: Node) -> Iterator[Node]:
    """Give a node and all below it, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: Node) -> tuple[Node, ...]:
    """Give the nodes right below one."""
    if isinstance(node, Negative):
        return (node.operand,)
    if isinstance(node, Binary):
        return node.left, node.right
    return node.arguments if isinstance(node, Call) else ()
