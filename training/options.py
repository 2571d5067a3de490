"""Options as a user writes them on a command line."""

import json
import math
from collections.abc import Iterable
from typing import Any

from training.errors import InvalidOption

__all__ = ["parse_options", "parse_weights"]


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
