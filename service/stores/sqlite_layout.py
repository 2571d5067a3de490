"""The tables of the store's file, and how numbers and sequences are given."""

import sqlite3
from datetime import datetime

from service.revisions import Change, Revision
from service.stores.records import microseconds, numbered, record_of

__all__ = ["LAYOUT", "create_tables", "insert", "layout_of", "newest_sequence", "number_given", "remember_number"]

LAYOUT = 1
_TABLES = (
    # AUTOINCREMENT remembers the highest sequence even where rows are gone.
    """
    CREATE TABLE revisions (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        revision INTEGER NOT NULL CHECK (revision > 0),
        document TEXT NOT NULL,
        author TEXT NOT NULL,
        reason TEXT NOT NULL,
        action TEXT NOT NULL,
        created_at TEXT NOT NULL,
        checksum TEXT NOT NULL,
        UNIQUE (name, revision)
    )
    """,
    # The number last given to each name: of a damaged or removed revision it is not given again.
    "CREATE TABLE numbers (name TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE processes (
        process_id TEXT PRIMARY KEY,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        applied INTEGER NOT NULL,
        seen_us INTEGER NOT NULL,
        lease_us INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)

# A cast makes 0 of what is no number, so that one edited cell stops nobody.
_NEWEST = "SELECT IFNULL(CAST(seq AS INTEGER), 0) FROM sqlite_sequence WHERE name = 'revisions'"
_NUMBER = """
SELECT MAX(
    COALESCE((SELECT CAST(revision AS INTEGER) FROM numbers WHERE name = :name), 0),
    COALESCE((SELECT CAST(MAX(revision) AS INTEGER) FROM revisions WHERE name = :name), 0)
)
"""
_REMEMBER = """
INSERT INTO numbers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET revision = MAX(revision, excluded.revision)
"""


def layout_of(connection: sqlite3.Connection) -> int:
    """Give the number of the file's layout; 0 for a new file, and for one of a release before the numbers."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables, inside the caller's transaction."""
    for table in _TABLES:
        connection.execute(table)
    connection.execute(f"PRAGMA user_version = {LAYOUT}")


def newest_sequence(connection: sqlite3.Connection) -> int:
    """Give the highest sequence ever given; 0 before the first."""
    row = connection.execute(_NEWEST).fetchone()
    return int(row[0]) if row else 0


def number_given(connection: sqlite3.Connection, name: str) -> int:
    """Give the number of the newest revision of a name, readable or not; 0 where there is none."""
    (number,) = connection.execute(_NUMBER, {"name": name}).fetchone()
    return int(number)


def insert(connection: sqlite3.Connection, change: Change, number: int, created_at: datetime) -> Revision:
    """Write a revision inside the caller's transaction.

    Its sequence is the time in microseconds, or one more than the newest where the clock is behind: so a store that
    was begun anew, or put back from a copy, never gives a sequence a second time.
    """
    sequence = max(newest_sequence(connection) + 1, microseconds(created_at))
    revision = numbered(change, revision=number, sequence=sequence, created_at=created_at)
    record = record_of(revision)
    columns, places = ", ".join(record), ", ".join("?" * len(record))
    connection.execute(f"INSERT INTO revisions ({columns}) VALUES ({places})", tuple(record.values()))  # noqa: S608
    remember_number(connection, change.name, number)
    return revision


def remember_number(connection: sqlite3.Connection, name: str, number: int) -> None:
    """Never give this number of the name, nor one below it, again."""
    connection.execute(_REMEMBER, (name, number))
