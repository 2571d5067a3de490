"""The store of revisions that a location names."""

from pathlib import Path

from service.revisions import RevisionStore
from service.stores.memory import MemoryRevisionStore
from service.stores.sqlite import SqliteRevisionStore

__all__ = ["open_revision_store"]

_MEMORY = ":memory:"


def open_revision_store(location: str) -> RevisionStore:
    """Give the store; it is opened when it is first used, so that a service starts without it."""
    return MemoryRevisionStore() if location == _MEMORY else SqliteRevisionStore(Path(location))
