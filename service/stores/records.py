"""How a revision is written down: its fields, and a checksum over them, so that a torn or edited one shows."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import structlog

from service.revisions import Change, Revision

__all__ = ["EPOCH", "microseconds", "numbered", "read_record", "record_of"]

_log = structlog.get_logger(__name__)
_FIELDS = ("name", "revision", "document", "author", "reason", "action", "created_at")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Give the microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def numbered(change: Change, *, revision: int, sequence: int, created_at: datetime) -> Revision:
    """Give a change its place."""
    return Revision(
        sequence=sequence,
        name=change.name,
        revision=revision,
        document=change.document,
        author=change.author,
        reason=change.reason,
        action=change.action,
        created_at=created_at,
    )


def record_of(revision: Revision) -> dict[str, Any]:
    """Give what is written for a revision; the checksum leaves out the sequence, which some stores give later."""
    fields = {**asdict(revision), "created_at": revision.created_at.isoformat()}
    return {**fields, "checksum": _checksum(fields)}


def read_record(record: Mapping[str, Any]) -> Revision | None:
    """Read what was written; None for a damaged one, with a log line, so that the last good revision serves."""
    try:
        return _verified(record)
    except (KeyError, TypeError, ValueError) as error:
        _log.error("revision skipped", name=record.get("name"), revision=record.get("revision"), reason=str(error))
        return None


def _verified(record: Mapping[str, Any]) -> Revision:
    if record["checksum"] != _checksum(record):
        msg = "it is not what was written: its checksum differs"
        raise ValueError(msg)
    if not isinstance(record["sequence"], int):
        msg = f"its sequence is {record['sequence']!r}"
        raise TypeError(msg)
    fields = {name: record[name] for name in _FIELDS}
    return Revision(**{**fields, "sequence": record["sequence"], "created_at": _moment(record["created_at"])})


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        msg = f"its time {text} has no zone"
        raise ValueError(msg)
    return moment


def _checksum(fields: Mapping[str, Any]) -> str:
    return blake2b(json.dumps([fields[name] for name in _FIELDS]).encode(), digest_size=8).hexdigest()
