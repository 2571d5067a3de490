"""A body to a query: plain JSON and plain checks, no object a candidate.

Keys that a JSON object repeats count once, the last one, as JSON parsers have it.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.errors import EmptyCandidates, InvalidField, MalformedBody, TooManyCandidates
from service.ranking.query import RankQuery

__all__ = ["ENVELOPE", "MAX_DEADLINE_MS", "Decoder", "parse_object", "refuse_unknown_keys"]

ENVELOPE = (
    "request_id",
    "model",
    "profile",
    "top_k",
    "deadline_ms",
    "units",
    "request",
    "candidates",
    "weights",
    "return",
)
RETURNABLE = ("heads", "explain")
MAX_DEADLINE_MS = 600_000.0
_MAX_NAME = 128
_ID = "item_id"


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a body that has to be a JSON object.

    Raises:
        MalformedBody: When it is not, with the place.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(
            f"the body is not JSON at line {error.lineno}, column {error.colno}: {error.msg.split(': line')[0]}",
            fix="send valid JSON in UTF-8; NaN and infinities do not exist in it, use null",
        ) from None
    if not isinstance(document, dict):
        raise MalformedBody(f"the body is {called(document)}", fix="send a JSON object")
    return document


def refuse_unknown_keys(document: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse a key that nothing would read.

    Raises:
        InvalidField: Naming it, and what was probably meant.
    """
    for key in document:
        if key not in known:
            near = difflib.get_close_matches(key[:_MAX_NAME], known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InvalidField(
                f"unknown key {_short(key)}", fix=f"{hint}known keys: {', '.join(known)}", path=_at("", key)
            )


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Turns documents into queries.

    Args:
        max_candidates: Candidates that one request may carry.
        default_deadline_ms: Deadline of requests that name none; None never expires.
        clock: Monotonic seconds, the one that deadlines are points on.
    """

    max_candidates: int
    default_deadline_ms: float | None
    clock: Callable[[], float]

    def decode(self, document: dict[str, Any], *, request_id: str) -> RankQuery:
        """Check a document and give the query that it asks.

        Raises:
            InvalidField: When a key is unknown, missing, or its value is of the wrong type or out of range.
            EmptyCandidates: When there is nothing to rank.
            TooManyCandidates: When there is more than allowed.
        """
        refuse_unknown_keys(document, ENVELOPE)
        item_ids, columns = self._candidates(document)
        wanted = _returned(document.get("return"))
        return RankQuery(
            request_id=request_id,
            model=text_at(document, "model"),
            profile=text_at(document, "profile") or "default",
            top_k=_top_k(document.get("top_k")),
            deadline=self._deadline(document.get("deadline_ms")),
            units=_units(_object_at(document, "units")),
            request=_object_at(document, "request"),
            item_ids=item_ids,
            candidates=columns,
            weights=_weights(_object_at(document, "weights")),
            with_heads="heads" in wanted,
            with_explanation="explain" in wanted,
        )

    def _deadline(self, given: Any) -> float | None:
        limit_ms = self.default_deadline_ms if given is None else _deadline_ms(given)
        return None if limit_ms is None else self.clock() + limit_ms / 1000.0

    def _candidates(self, document: dict[str, Any]) -> tuple[list[str], dict[str, list[Any]]]:
        given = document.get("candidates")
        if isinstance(given, list):
            self._check_count(len(given))
            columns = _columns_of(given)
        elif isinstance(given, dict):
            columns = dict(given)
        else:
            raise _wrong("/candidates", "an object of columns or a list of objects", given)
        item_ids = columns.pop(_ID, None)
        if not isinstance(item_ids, list):
            raise _wrong(f"/candidates/{_ID}", "a list of strings", item_ids)
        self._check_count(len(item_ids))
        _check_ids(item_ids, rows=isinstance(given, list))
        _check_lengths(columns, len(item_ids))
        return item_ids, columns

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise EmptyCandidates("there are no candidates", fix="send at least one candidate", path="/candidates")
        if count > self.max_candidates:
            raise TooManyCandidates(
                f"the request carries {count} candidates, {self.max_candidates} are allowed",
                fix="pre-select fewer candidates, or split the request",
                path="/candidates",
            )


def text_at(document: Mapping[str, Any], key: str) -> str | None:
    """Give an optional string of the document.

    Raises:
        InvalidField: When it is not a string, is empty or longer than 128 characters.
    """
    value = document.get(key)
    if value is None or (isinstance(value, str) and 0 < len(value) <= _MAX_NAME):
        return value
    if isinstance(value, str):
        raise InvalidField(f"{key} has {len(value)} characters", fix=f"send 1 to {_MAX_NAME} of them", path=f"/{key}")
    raise _wrong(f"/{key}", "a string", value)


def called(value: Any) -> str:
    """Name the JSON type of a value, for error messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _columns_of(rows: list[Any]) -> dict[str, list[Any]]:
    """Turn row objects into columns; where a row lacks a key that another has, its value is null."""
    names: dict[str, None] = {}
    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            raise _wrong(f"/candidates/{position}", "an object with an item_id", row)
        names.update(dict.fromkeys(row))
    return {name: [row.get(name) for row in rows] for name in names} if _ID in names else {_ID: [None]}


def _check_ids(item_ids: list[Any], *, rows: bool) -> None:
    if set(map(type, item_ids)) <= {str}:
        return
    position = next(i for i, item_id in enumerate(item_ids) if not isinstance(item_id, str))
    place = f"/candidates/{position}/{_ID}" if rows else f"/candidates/{_ID}/{position}"
    raise _wrong(place, "a string", item_ids[position])


def _check_lengths(columns: dict[str, list[Any]], count: int) -> None:
    for name, column in columns.items():
        if not isinstance(column, list):
            raise _wrong(_at("/candidates", name), "a list with one value for each candidate", column)
        if len(column) != count:
            raise InvalidField(
                f"the column {_short(name)} has {len(column)} values for {count} candidates",
                fix="give every column one value for each item_id, null where it is not known",
                path=_at("/candidates", name),
            )


def _object_at(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(f"/{key}", "an object", value)
    return value


def _weights(given: dict[str, Any]) -> dict[str, float]:
    for name, value in given.items():
        if not _is_number(value):
            raise _wrong(_at("/weights", name), "a finite number", value)
    return {name: float(value) for name, value in given.items()}


def _units(given: dict[str, Any]) -> dict[str, str | int]:
    for name, value in given.items():
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise _wrong(_at("/units", name), "a string or a whole number", value)
    return given


def _top_k(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong("/top_k", "a whole number of 1 or more", value)
    return value


def _deadline_ms(value: Any) -> float:
    if not _is_number(value) or not 0 < value <= MAX_DEADLINE_MS:
        raise _wrong("/deadline_ms", f"a number of milliseconds above 0, at most {MAX_DEADLINE_MS:g}", value)
    return float(value)


def _returned(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong("/return", f"a list of any of: {', '.join(RETURNABLE)}", value)
    for position, each in enumerate(value):
        if each not in RETURNABLE:
            shown = _short(each) if isinstance(each, str) else called(each)
            raise InvalidField(
                f"{shown} cannot be returned",
                fix=f"send any of: {', '.join(RETURNABLE)}",
                path=f"/return/{position}",
            )
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(path: str, wanted: str, value: Any) -> InvalidField:
    shown = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else called(value)
    what = "is missing" if value is None else f"is {shown}"
    return InvalidField(f"{path} {what}", fix=f"send {wanted}", path=path)


def _at(path: str, key: str) -> str:
    """Append a key to a JSON pointer (RFC 6901)."""
    return f"{path}/{key[:_MAX_NAME].replace('~', '~0').replace('/', '~1')}"


def _short(text: str) -> str:
    return repr(text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}…")
