"""Options: as a user writes them on a command line, and held against what their owner has."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from contract.frozen import Frozen
from training.errors import InvalidOption

__all__ = ["NoOptions", "parse_options", "parse_weights", "validated"]


class NoOptions(Frozen):
    """Options of what has none of its own."""


def validated(options: type[Frozen], given: Mapping[str, Any], *, owner: str) -> Frozen:
    """Check the options of an architecture or a balancer.

    Args:
        owner: Whose options they are, for the message.

    Raises:
        InvalidOption: When there is no such option, or its value is out of range.
    """
    try:
        return options.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(options.model_fields) or "none"
        raise InvalidOption(f"option {where!r} of {owner}: {first['msg']}", fix=f"its options are: {known}") from None


def parse_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs, each value as JSON where it is JSON and as text where it is not.

    Raises:
        InvalidOption: When one is no such pair.
    """
    return dict(map(_parsed, pairs))


def _parsed(pair: str) -> tuple[str, Any]:
    name, sign, text = pair.partition("=")
    if not (name and sign and text):
        raise InvalidOption(f"{pair!r} is no option", fix="write it as name=value")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text


def parse_weights(pairs: Iterable[str]) -> dict[str, float]:
    """Read ``task=weight`` pairs.

    Raises:
        InvalidOption: When one is no such pair, or its weight no number of 0 or more.
    """
    weights = parse_options(pairs)
    for name, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
            raise InvalidOption(f"{value!r} is no weight for {name!r}", fix="give a number of 0 or more")
    return weights
