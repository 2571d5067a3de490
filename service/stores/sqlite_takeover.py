"""How a file gets its tables, and how revisions that an older release has kept there are taken over, once."""

import sqlite3
from datetime import datetime

import structlog

from contract.fusion import FusionProfile
from contract.plan import FusionPlan
from service.revisions import Change
from service.stores.sqlite_layout import LAYOUT, create_tables, insert, layout_of, remember_number

__all__ = ["prepare"]

_log = structlog.get_logger(__name__)
_AUTHOR = "before"
_OLD_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'fusion_revisions'"
# By the latest time so far, so that each profile keeps its order even where a clock has gone back.
_OLD_ROWS = """
SELECT profile, revision, document, created_at FROM fusion_revisions
ORDER BY MAX(created_at) OVER (PARTITION BY profile ORDER BY revision), profile, revision
"""


def prepare(connection: sqlite3.Connection) -> None:
    """Give a file its tables and take over what an older release has kept there; nothing to do from then on.

    Raises:
        sqlite3.DatabaseError: When the file cannot be written, or is of a later release.
    """
    if layout_of(connection) == LAYOUT:
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        found = layout_of(connection)  # again: another process may have been first
        if found > LAYOUT:
            msg = f"it has layout {found} of a later release, and this one knows {LAYOUT}"
            raise sqlite3.DatabaseError(msg)
        if found < LAYOUT:
            create_tables(connection)
            if connection.execute(_OLD_TABLE).fetchone():
                _take_over(connection)


def _take_over(connection: sqlite3.Connection) -> None:
    """Copy the old rows, leaving them where they are; numbers of damaged ones are not given again."""
    rows = connection.execute(_OLD_ROWS).fetchall()
    for profile, number, document, created_at in rows:
        try:
            change, moment = _change(profile, document), datetime.fromisoformat(created_at)
            insert(connection, change, number, moment)
        except (ValueError, TypeError) as error:
            _log.error("old fusion revision skipped", profile=profile, revision=number, reason=str(error))
            remember_number(connection, f"fusion/{profile}", number)
    _log.info("fusion revisions of an older release taken over", rows=len(rows))


def _change(profile: str, document: str) -> Change:
    plan = FusionPlan(profile=FusionProfile.model_validate_json(document))
    return Change(name=f"fusion/{profile}", document=plan.model_dump_json(), expected=0, author=_AUTHOR)
