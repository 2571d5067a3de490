"""The store of revisions that a location names."""

from pathlib import Path

from service.errors import StoreUnavailable
from service.revisions import RevisionStore
from service.stores.memory import MemoryRevisionStore
from service.stores.sqlite import SqliteRevisionStore
from service.stores.valkey import ValkeyRevisionStore
from service.stores.valkey_address import SCHEMES

__all__ = ["open_revision_store"]

_MEMORY = ":memory:"


def open_revision_store(location: str) -> RevisionStore:
    """Give the store at ``:memory:``, a path, or a URL of a Valkey or Redis server.

    Nothing is opened or connected yet: a service starts without its store, and uses it as soon as it is there.

    Raises:
        StoreUnavailable: When the location is a URL that names no store.
    """
    if location == _MEMORY:
        return MemoryRevisionStore()
    scheme, separator, _ = location.partition("://")
    if not separator:
        return SqliteRevisionStore(Path(location))
    if scheme not in SCHEMES:
        raise StoreUnavailable(
            f"no store is kept at {scheme}://",
            fix=f"name a file, {_MEMORY}, or a URL that begins with {', '.join(f'{each}://' for each in SCHEMES)}",
        )
    return ValkeyRevisionStore.open(location)
