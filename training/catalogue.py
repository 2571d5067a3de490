"""The architectures as a user meets them: what each is, its options, and what it costs."""

import inspect
import re
import types
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contract.frozen import Frozen
from training.models.cost import BASELINE, Cost, cost_of
from training.models.registry import find_architecture

__all__ = ["Entry", "OptionEntry", "describe", "show_architecture", "show_architectures"]


class OptionEntry(Frozen):
    """One option of an architecture.

    Args:
        type: As Python writes it.
        default: As JSON has it.
        meaning: From the option's own documentation.
    """

    name: str
    type: str
    default: Any
    meaning: str


class Entry(Frozen):
    """One architecture.

    Args:
        summary: First paragraph of its documentation.
        cost: On the reference problem of :mod:`training.models.cost`, with default options.
        relative: The same as multiples of a shared-bottom's.
    """

    name: str
    title: str
    link: str
    summary: str
    options: tuple[OptionEntry, ...]
    cost: Cost
    relative: dict[str, float]


def describe(name: str) -> Entry:
    """Describe one architecture; counts its cost, which takes a moment.

    Raises:
        UnknownArchitecture: When there is none of this name.
    """
    architecture = find_architecture(name)
    model, cost = architecture.model, cost_of(name)
    return Entry(
        name=name,
        title=architecture.title,
        link=architecture.link,
        summary=_paragraph(inspect.getdoc(inspect.getmodule(model)) or ""),
        options=_options(model.Options),
        cost=cost,
        relative=cost.relative_to(_baseline()),
    )


def show_architectures(entries: Sequence[Entry], console: Console) -> None:
    """Print a line an architecture."""
    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_column("paper", overflow="fold")
    for column in ("weights", "tables", "work"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in entries:
        relative = [f"{entry.relative[each]:.1f}x" for each in ("parameters", "table_parameters", "multiply_adds")]
        table.add_row(entry.name, Text("\n".join(filter(None, (entry.title, entry.link)))), *relative)
    console.print(table)
    console.print(
        f"Dense weights, weights of embedding tables, and multiply-adds a candidate, as multiples of {BASELINE}'s, "
        "with default options, for 24 request fields, 16 candidate fields, 500 candidates of one request and 4 tasks.",
    )


def show_architecture(entry: Entry, console: Console) -> None:
    """Print one architecture and its options."""
    for line in (f"{entry.name}: {entry.title}", entry.link or "no paper", entry.summary, _in_words(entry)):
        console.print(Text(line), soft_wrap=True)
    if not entry.options:
        console.print("It has no options of its own.")
        return
    table = Table("option", "type", "default", "meaning")
    table.columns[0].no_wrap = True
    for option in entry.options:
        cells = (option.name, option.type, repr(option.default), option.meaning)
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


@cache
def _baseline() -> Cost:
    return cost_of(BASELINE)


def _in_words(entry: Entry) -> str:
    cost, relative = entry.cost, entry.relative
    return (
        f"{cost.parameters:,} dense weights ({relative['parameters']:.1f}x {BASELINE}), "
        f"{cost.multiply_adds:,.0f} multiply-adds a candidate ({relative['multiply_adds']:.1f}x)"
    )


def _options(options: type[Frozen]) -> tuple[OptionEntry, ...]:
    meanings: dict[str, str] = {}
    for base in reversed(options.__mro__):  # an option may be documented where it was inherited from
        meanings |= _meanings(inspect.cleandoc(base.__doc__ or ""))
    defaults = options().model_dump(mode="json")
    return tuple(
        OptionEntry(
            name=name, type=_type_name(field.annotation), default=defaults[name], meaning=meanings.get(name, "")
        )
        for name, field in options.model_fields.items()
    )


def _meanings(doc: str) -> dict[str, str]:
    """Read the Args section of a docstring."""
    _, _, section = doc.partition("Args:\n")
    pairs = re.findall(r"^    (\w+): (.+(?:\n     +.+)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in pairs}


def _paragraph(doc: str) -> str:
    return " ".join(doc.partition("\n\n")[0].split())


def _type_name(annotation: Any) -> str:
    """Write a type as a reader of the documentation would."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(repr(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(_type_name(each) for each in arguments)
    if arguments:
        inner = ", ".join("..." if each is Ellipsis else _type_name(each) for each in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
