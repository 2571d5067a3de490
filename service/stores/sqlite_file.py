"""A SQLite file that may be moved away, replaced, locked or full at any time, and connections that survive it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Literal

from service.errors import StoreUnavailable
from service.stores.sqlite_takeover import prepare

__all__ = ["SqliteFile", "SqliteLink", "writing"]

_RETRY_S = 1.0
_PAUSE_S = 0.01
_SAME_CODE = 0xFF  # extended result codes carry the plain one in their low byte: https://sqlite.org/rescode.html
_FIXES = {
    sqlite3.SQLITE_BUSY: "try again; another process holds the file",
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_NOTADB: "move the damaged file aside, and put a copy in its place",
    sqlite3.SQLITE_CORRUPT: "move the damaged file aside, and put a copy in its place",
}
_GONE = "put the file back; the service reads it again by itself, and only a restart begins a new one"
_OTHER = "check the path, its permissions and its disk"


class SqliteFile:
    """Where the file is, and whether it has ever been there.

    Args:
        path: Of the file; it and its folder are made by the first connection.
        busy_s: Longest wait for another process's lock.
    """

    def __init__(self, path: Path, *, busy_s: float) -> None:
        self.path = path
        self._busy_s = busy_s
        self._was_there = False

    def identity(self) -> tuple[int, int]:
        """Tell files of one name apart.

        Raises:
            FileNotFoundError: When there is none now.
        """
        status = self.path.stat()
        return status.st_dev, status.st_ino

    def connect(self, *, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
        """Open a connection for any thread, with the layout in place.

        A file that was there and is gone is not made anew: an empty store would look like a good one.
        """
        if not self._was_there:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        mode = "rw" if self._was_there else "rwc"
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.text_factory = _text
            self._use_wal(connection)
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._was_there = True
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to the write-ahead log; SQLite does not wait by itself for others that switch at the same moment."""
        deadline = time.monotonic() + self._busy_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                Event().wait(_PAUSE_S)
            else:
                return

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Say what is wrong with the file, and how to mend it."""
        if isinstance(error, FileNotFoundError):
            return StoreUnavailable(f"the store {self.path} is gone", fix=_GONE, retry_after_s=_RETRY_S)
        fix = _FIXES.get(_code(error), _OTHER)
        return StoreUnavailable(f"the store {self.path} does not answer: {error}", fix=fix, retry_after_s=_RETRY_S)


class SqliteLink:
    """One connection to the file, for one purpose and one thread at a time; opened when it is first used.

    Args:
        file: To connect to.
        synchronous: FULL where a change has to outlive a loss of power.
    """

    def __init__(self, file: SqliteFile, *, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> None:
        self._file = file
        self._synchronous = synchronous
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection; after an error, or when the file is another one, it is opened again.

        Raises:
            StoreUnavailable: Instead of every error of SQLite and of the file system.
        """
        with self._lock:
            try:
                yield self._current()
            except (sqlite3.Error, OSError) as error:
                self._drop()
                raise self._file.unavailable(error) from error

    def close(self) -> None:
        """Close the connection for good, once nobody uses it."""
        with self._lock:
            self._closed = True
            self._drop()

    def _current(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable("the store is closed", fix="nothing to do: the process stops")
        if self._connection is not None and self._file.identity() != self._identity:
            self._drop()
        if self._connection is None:
            self._connection = self._file.connect(synchronous=self._synchronous)
            self._identity = self._file.identity()
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the file's one writing place: commit at the end, roll back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def _text(raw: bytes) -> str | bytes:
    """Read text; one torn row must not fail the whole query."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & _SAME_CODE
