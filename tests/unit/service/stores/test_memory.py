import pytest

from service.stores.memory import MemoryRevisionStore
from tests.suites.revision_store import RevisionStoreSuite


class TestMemoryRevisionStore(RevisionStoreSuite):
    @pytest.fixture
    def store(self):
        return MemoryRevisionStore()

    @pytest.fixture
    def another(self, store):
        return store
