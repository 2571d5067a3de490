"""What Valkey's answers mean. Bytes in, values out; whatever is damaged is skipped with a log line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from service.revisions import ProcessState, Revision
from service.stores.records import EPOCH, read_record

__all__ = ["alive", "number_in", "process_text", "readable"]

_log = structlog.get_logger(__name__)


def readable(record: bytes | None, name: str, number: int) -> Revision | None:
    """Read the record that stands at a number of a name."""
    parsed = _object(record)
    at_its_place = {**parsed, "name": name, "revision": number}  # one that belongs elsewhere has another checksum
    return read_record(at_its_place)


def number_in(value: bytes | str | None) -> int:
    """Read a counter; 0 where there is none, or what is no number."""
    return int(value) if value is not None and value.isdigit() else 0


def process_text(state: ProcessState) -> str:
    """Write a process down, but for the times, which the server adds."""
    facts = {"process_id": state.process_id, "host": state.host, "pid": state.pid, "applied": state.applied}
    return json.dumps(facts)


def alive(records: Iterable[bytes], *, now_ms: int) -> Sequence[ProcessState]:
    """Give the processes whose lease holds, by id."""
    found = [state for record in records if (state := _alive(record, now_ms)) is not None]
    return sorted(found, key=lambda state: state.process_id)


def _alive(record: bytes, now_ms: int) -> ProcessState | None:
    try:
        facts = json.loads(record)
        if abs(now_ms - facts["seen_ms"]) >= facts["lease_ms"]:
            return None
        return ProcessState(
            process_id=facts["process_id"],
            host=facts["host"],
            pid=facts["pid"],
            applied=facts["applied"],
            seen_at=EPOCH + timedelta(milliseconds=facts["seen_ms"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        _log.error("process skipped", reason=repr(error))
        return None


def _object(record: bytes | None) -> Mapping[str, Any]:
    try:
        parsed = json.loads(record or b"")
    except ValueError:  # torn, or no UTF-8
        return {}
    return parsed if isinstance(parsed, dict) else {}
