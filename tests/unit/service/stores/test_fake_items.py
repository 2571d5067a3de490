import pytest

from contract.encoding import Encoder
from tests.fakes import FakeItemStore
from tests.suites.item_store import COLUMNS, ITEM_IDS, SCHEMA, ItemStoreSuite


class TestFakeItemStore(ItemStoreSuite):
    @pytest.fixture
    def store(self):
        rows = [dict(zip(COLUMNS, values, strict=True)) for values in zip(*COLUMNS.values(), strict=True)]
        return FakeItemStore(Encoder(SCHEMA), dict(zip(ITEM_IDS, rows, strict=True)))
