"""Fusion revisions in SQLite: one append-only table, durable before :meth:`append` returns."""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import structlog
from pydantic import ValidationError

from contract.fusion import FusionProfile
from service.errors import StoreUnavailable
from service.ports import FusionRevision

__all__ = ["SqliteFusionStore"]

_log = structlog.get_logger(__name__)
_BUSY_S = 5.0
_TABLE = """
CREATE TABLE IF NOT EXISTS fusion_revisions (
    profile TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    document TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (profile, revision)
) WITHOUT ROWID
"""


class SqliteFusionStore:
    """Keeps revisions in a file.

    Args:
        connection: Open, usable from any thread.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path) -> "SqliteFusionStore":
        """Open or create the file and its folder.

        Raises:
            StoreUnavailable: When it cannot be opened, or is no database.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(
                f"the fusion store {path} cannot be opened: {error}",
                fix="check the path and its permissions, or move a damaged file aside",
            ) from error
        return cls(connection)

    def latest(self) -> Mapping[str, FusionRevision]:
        """Give the newest readable revision of each profile, by name."""
        try:
            with self._lock:
                rows = self._connection.execute(
                    "SELECT profile, revision, document, created_at FROM fusion_revisions ORDER BY revision"
                ).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"the fusion store cannot be read: {error}", fix="check the file, or move a damaged one aside"
            ) from error
        revisions = [revision for row in rows if (revision := _revision(*row)) is not None]
        return {revision.profile_name: revision for revision in revisions}

    def append(self, profile_name: str, profile: FusionProfile) -> FusionRevision:
        """Write a new revision durably; the number is taken inside one transaction, across processes."""
        now = datetime.now(UTC)
        try:
            with self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                (newest,) = self._connection.execute(
                    "SELECT COALESCE(MAX(revision), 0) FROM fusion_revisions WHERE profile = ?",
                    (profile_name,),
                ).fetchone()
                self._connection.execute(
                    "INSERT INTO fusion_revisions VALUES (?, ?, ?, ?)",
                    (profile_name, newest + 1, profile.model_dump_json(), now.isoformat()),
                )
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"the change could not be kept: {error}",
                fix="nothing has changed; try again",
                retry_after_s=1.0,
            ) from error
        return FusionRevision(profile_name=profile_name, revision=newest + 1, profile=profile, created_at=now)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _revision(profile_name: str, number: int, document: str, created_at: str) -> FusionRevision | None:
    """Read a row; a damaged one is left out, so that the last good revision serves."""
    try:
        return FusionRevision(
            profile_name=profile_name,
            revision=number,
            profile=FusionProfile.model_validate_json(document),
            created_at=datetime.fromisoformat(created_at),
        )
    except (ValidationError, ValueError, TypeError) as error:
        _log.error("fusion revision skipped", profile=profile_name, revision=number, reason=str(error))
        return None
