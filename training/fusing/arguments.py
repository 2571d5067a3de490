"""What the commands of ``fulcrum fuse`` read from their command line, and from the files that it names."""

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from contract.fusion import FusionProfile
from contract.weights import changed_weights
from training.console import console
from training.errors import ApplyError, InvalidOption, SearchError
from training.fusing.log import ImpressionLog
from training.fusing.reading import Roles, read_log
from training.fusing.search import SearchDocument
from training.fusing.splitting import ending_before, time_split

__all__ = [
    "TOKEN_VARIABLE",
    "chosen_weights",
    "command_line",
    "found_profile",
    "parse_bounds",
    "parse_pairs",
    "read_logs",
    "read_search",
    "read_token",
]

TOKEN_VARIABLE = "FULCRUM_ADMIN_TOKEN"  # noqa: S105 - the variable's name, no secret


def read_token(path: Path | None) -> str:
    """Read the admin token from a file, or from the environment.

    Raises:
        ApplyError: When there is none.
    """
    try:
        token = os.environ.get(TOKEN_VARIABLE, "") if path is None else path.read_text().strip()
    except OSError as error:
        raise ApplyError(f"the token cannot be read: {error}", fix="name another --token-file") from None
    if not token:
        raise ApplyError("there is no token to write with", fix=f"set {TOKEN_VARIABLE}, or name a --token-file")
    return token


def read_logs(log: Path, evaluate: Path | None, share: float, roles: Roles) -> tuple[ImpressionLog, ImpressionLog]:
    """Read what to fit on and what to judge on: two logs, or the two ends of one."""
    earlier = read_log(log, roles)
    if evaluate is None:
        return time_split(earlier, share)
    later = read_log(evaluate, roles)
    kept, left_out = ending_before(earlier, later)
    if left_out:
        console.print(f"{left_out:,} requests of {log} happened after {evaluate} begins: they are left out")
    return kept, later


def read_search(path: Path) -> SearchDocument:
    """Read the result of a search.

    Raises:
        SearchError: When the file holds none.
    """
    try:
        return SearchDocument.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise SearchError(f"{path} is no result of a search: {first}", fix="run `fulcrum fuse search`") from None


def chosen_weights(document: SearchDocument, point: int | None) -> dict[str, float]:
    """Give the weights of a point; which one has to be said where there are several.

    Raises:
        SearchError: When it is not said, or there is no such point.
    """
    if point is None and len(document.points) > 1:
        raise SearchError(f"the search has {len(document.points)} points", fix="choose one with --point")
    if (point or 0) >= len(document.points):
        raise SearchError(f"there is no point {point}", fix=f"points are 0 to {len(document.points) - 1}")
    return document.points[point or 0].weights


def found_profile(path: Path, point: int) -> FusionProfile:
    """Give the searched formula with the weights of a point."""
    document = read_search(path)
    profile = document.current.profile
    return profile.model_copy(update={"weights": changed_weights(profile.weights, chosen_weights(document, point))})


def parse_pairs(given: Iterable[str] | None) -> dict[str, str]:
    """Read ``column=label`` pairs.

    Raises:
        InvalidOption: When one is no such pair.
    """
    pairs = [(each, *each.partition("=")) for each in given or ()]
    if bad := [each for each, *parts in pairs if not all(parts)]:
        raise InvalidOption(f"{bad[0]!r} is no pair", fix="write it as COLUMN=LABEL")
    return {name: value for _, name, _, value in pairs}


def parse_bounds(given: Iterable[str] | None) -> dict[str, tuple[float, float]]:
    """Read ``weight=low:high`` bounds.

    Raises:
        InvalidOption: When one is no such pair of numbers.
    """
    return dict(map(_bounds, given or ()))


def _bounds(given: str) -> tuple[str, tuple[float, float]]:
    name, _, span = given.partition("=")
    low, _, high = span.partition(":")
    try:
        return name, (float(low), float(high))
    except ValueError:
        raise InvalidOption(f"{given!r} are no bounds", fix="write them as WEIGHT=LOW:HIGH") from None


def command_line() -> str:
    """Give the command as it was typed, for whoever wants to run it again."""
    return f"fulcrum {shlex.join(sys.argv[1:])}"
