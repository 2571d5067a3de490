"""The store of revisions that a location names."""

from service.revisions import RevisionStore
from service.stores.memory import MemoryRevisionStore

__all__ = ["open_revision_store"]


def open_revision_store(location: str) -> RevisionStore:
    """Give the store."""
    return MemoryRevisionStore()
