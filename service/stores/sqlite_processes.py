"""Which processes are alive, in SQLite: rows with a lease, on the one machine's clock."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from service.revisions import ProcessState
from service.stores.records import EPOCH, microseconds

__all__ = ["alive", "forget", "remember"]

_log = structlog.get_logger(__name__)
_SECOND_US = 1_000_000
# By the distance in time: a clock that was set back makes nobody immortal.
_OVER = "ABS(? - seen_us) >= lease_us"


def remember(connection: sqlite3.Connection, state: ProcessState, *, lease_s: float, now: datetime) -> None:
    """Keep the last word of a process, and forget those whose lease is over."""
    now_us = microseconds(now)
    row = (state.process_id, state.host, state.pid, state.applied, now_us, round(lease_s * _SECOND_US))
    connection.execute(f"DELETE FROM processes WHERE {_OVER}", (now_us,))  # noqa: S608
    connection.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?, ?, ?)", row)


def alive(connection: sqlite3.Connection, *, now: datetime) -> Sequence[ProcessState]:
    """Give the processes whose lease holds, by id; a damaged row is skipped until its process speaks again."""
    rows = connection.execute(
        f"SELECT process_id, host, pid, applied, seen_us FROM processes WHERE NOT {_OVER} ORDER BY process_id",  # noqa: S608
        (microseconds(now),),
    ).fetchall()
    return [state for row in rows if (state := _state(*row)) is not None]


def forget(connection: sqlite3.Connection, process_id: str) -> None:
    """Take a process off the list."""
    connection.execute("DELETE FROM processes WHERE process_id = ?", (process_id,))


def _state(process_id: Any, host: Any, pid: Any, applied: Any, seen_us: Any) -> ProcessState | None:
    if not all(isinstance(text, str) for text in (process_id, host)) or not all(
        isinstance(number, int) for number in (pid, applied, seen_us)
    ):
        _log.error("process skipped", process_id=process_id, reason="its row is damaged")
        return None
    seen_at = EPOCH + timedelta(microseconds=seen_us)
    return ProcessState(process_id=process_id, host=host, pid=pid, applied=applied, seen_at=seen_at)
