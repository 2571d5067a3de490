"""Revisions in one SQLite file, for all processes of a machine: append-only, durable before :meth:`append` returns."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from service.errors import RevisionConflict
from service.revisions import Change, ProcessState, Revision
from service.stores.pulse import Pulse, await_change
from service.stores.records import read_record
from service.stores.sqlite_file import SqliteFile, SqliteLink, writing
from service.stores.sqlite_layout import insert, newest_sequence, number_given
from service.stores.sqlite_processes import alive, forget, remember

__all__ = ["SqliteRevisionStore"]

_COLUMNS = ("sequence", "name", "revision", "document", "author", "reason", "action", "created_at", "checksum")
_OF_NAME = f"SELECT {', '.join(_COLUMNS)} FROM revisions WHERE name = ? AND revision < ? ORDER BY revision DESC"  # noqa: S608
_ANY = 2**63 - 1


class SqliteRevisionStore:
    """Keeps revisions in a file; see :class:`service.revisions.RevisionStore`.

    Nothing is opened before it is needed, and what failed is opened again: a file that is gone, locked or damaged makes
    the store unavailable until it is back. Waiting, reading, writing and the words of processes each have a
    connection of their own, so that none stands in another's way.

    Args:
        path: Of the file; it and its folder are made at the first use.
        look_every_s: Seconds between two looks of who waits: how late a change of another process is seen at most.
        busy_s: Longest wait for another process's lock.
    """

    def __init__(self, path: Path, *, look_every_s: float = 0.02, busy_s: float = 5.0) -> None:
        file = SqliteFile(path, busy_s=busy_s)
        self._look_every_s = look_every_s
        self._pulse = Pulse()
        self._waiter = SqliteLink(file)
        self._reader = SqliteLink(file)
        self._writer = SqliteLink(file)
        # A word that a loss of power takes back is said again a second later.
        self._herald = SqliteLink(file, synchronous="NORMAL")

    def latest(self) -> Mapping[str, Revision]:
        """Give the newest readable revision of each name."""
        with self._reader.use() as connection, _snapshot(connection):
            names = [name for (name,) in connection.execute("SELECT name FROM numbers ORDER BY name")]
            newest = {name: _newest(connection, name) for name in names}
        return {name: revision for name, revision in newest.items() if revision is not None}

    def history(self, name: str, *, before: int | None = None, limit: int = 100) -> Sequence[Revision]:
        """Give the readable revisions of a name, newest first."""
        with self._reader.use() as connection:
            return _readable(connection, name, before=_ANY if before is None else min(before, _ANY), limit=limit)

    def append(self, change: Change) -> Revision:
        """Write a revision in one transaction across processes.

        A damaged newest revision may be followed both by who has seen it while it was whole and by who sees the one
        before it.
        """
        with self._writer.use() as connection, writing(connection):
            newest, given = _newest(connection, change.name), number_given(connection, change.name)
            if change.expected not in (given, newest.revision if newest else 0):
                raise RevisionConflict.between(change, newest)
            revision = insert(connection, change, given + 1, datetime.now(UTC))
        self._pulse.beat()
        return revision

    def wait(self, after: int, *, timeout_s: float) -> int:
        """Look every few milliseconds for another newest sequence, at once after a change of this handle."""
        return await_change(self._look, after, pulse=self._pulse, timeout_s=timeout_s, look_every_s=self._look_every_s)

    def report(self, state: ProcessState, *, lease_s: float) -> None:
        """Say how far a process is; those whose lease is over are forgotten."""
        with self._herald.use() as connection, writing(connection):
            remember(connection, state, lease_s=lease_s, now=datetime.now(UTC))

    def processes(self) -> Sequence[ProcessState]:
        """Give the processes whose lease holds, by id."""
        with self._reader.use() as connection:
            return alive(connection, now=datetime.now(UTC))

    def withdraw(self, process_id: str) -> None:
        """Take a process off the list."""
        with self._herald.use() as connection, writing(connection):
            forget(connection, process_id)

    def close(self) -> None:
        """Wake who waits, and close the file once nobody uses it."""
        self._pulse.close()
        for link in (self._waiter, self._reader, self._writer, self._herald):
            link.close()

    def _look(self) -> int:
        with self._waiter.use() as connection:
            return newest_sequence(connection)


def _newest(connection: sqlite3.Connection, name: str) -> Revision | None:
    return next(iter(_readable(connection, name, before=_ANY, limit=1)), None)


def _readable(connection: sqlite3.Connection, name: str, *, before: int, limit: int) -> list[Revision]:
    with closing(connection.execute(_OF_NAME, (name, before))) as rows:
        revisions = (read_record(_record(row)) for row in rows)
        return list(islice((revision for revision in revisions if revision is not None), limit))


def _record(row: tuple[Any, ...]) -> Mapping[str, Any]:
    return dict(zip(_COLUMNS, row, strict=True))


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the file throughout."""
    connection.execute("BEGIN")
    with connection:
        yield
