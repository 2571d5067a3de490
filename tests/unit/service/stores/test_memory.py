import pytest

from service.stores.memory import MemoryFusionStore
from tests.suites.fusion_store import FusionStoreSuite


class TestMemoryFusionStore(FusionStoreSuite):
    @pytest.fixture
    def store(self):
        return MemoryFusionStore()
