import asyncio

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.encoding import Encoder
from contract.errors import BundleError
from contract.features import FeatureSchema, Sequence, Vector
from service.stores.items import MemoryItemStore, read_items
from tests.suites.item_store import COLUMNS, ITEM_IDS, SCHEMA, ItemStoreSuite


class TestMemoryItemStore(ItemStoreSuite):
    @pytest.fixture
    def store(self):
        return MemoryItemStore.build(Encoder(SCHEMA), ITEM_IDS, COLUMNS)


class TestItemsFromParquet(ItemStoreSuite):
    @pytest.fixture
    def store(self, tmp_path):
        pq.write_table(pa.table({"item_id": ITEM_IDS, **COLUMNS}), tmp_path / "items.parquet")
        return read_items(tmp_path / "items.parquet", Encoder(SCHEMA))


def test_of_an_item_that_is_listed_twice_the_later_row_counts():
    columns = {"category": ["red", "red", "blue"], "price": [1.0, 2.0, 3.0]}
    store = MemoryItemStore.build(Encoder(SCHEMA), ["i1", "i2", "i1"], columns)

    rows = asyncio.run(store.fetch(["i1", "i2"]))

    assert rows.numbers["price"].tolist() == [3.0, 2.0]
    assert rows.found.all()


def test_without_an_item_table_every_item_is_unknown():
    rows = asyncio.run(read_items(None, Encoder(SCHEMA)).fetch(["i1", "i2"]))

    assert not rows.found.any()
    assert rows.encoded.dense.tolist() == [[7.0], [7.0]]


def test_a_null_in_the_table_takes_the_fields_default(tmp_path):
    table = pa.table({"item_id": ["i1", "i2"], "category": [None, "red"], "price": [None, 2.0]})
    pq.write_table(table, tmp_path / "items.parquet")

    rows = asyncio.run(read_items(tmp_path / "items.parquet", Encoder(SCHEMA)).fetch(["i1"]))

    assert rows.found.tolist() == [True]
    assert rows.numbers["price"].tolist() == [7.0]
    assert rows.encoded.ids.tolist() == [[0]]


@pytest.mark.parametrize("vectors", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2)], ids=["lists", "fixed lists"])
def test_vectors_and_lists_of_the_table_are_read_and_a_null_is_missing(vectors, tmp_path):
    schema = FeatureSchema(
        fields=(
            Vector(name="picture", side="candidate", dim=2, scale=2.0),
            Sequence(name="tags", side="candidate", dtype="string", table="tags", max_length=2),
        ),
        vocabularies={"tags": ("red", "blue")},
    )
    columns = {
        "item_id": ["i1", "i2", "i3"],
        "picture": pa.array([[2.0, 4.0], None, [6.0, 8.0]], vectors),
        "tags": [["blue", "red", "red"], ["new"], None],
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")

    store = read_items(tmp_path / "items.parquet", Encoder(schema))
    rows = asyncio.run(store.fetch(["i3", "i2", "i1", "nobody"]))

    assert rows.encoded.dense.tolist() == [[3.0, 4.0], [0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]
    assert rows.encoded.ids.tolist() == [[0, 0], [1, 0], [3, 2], [0, 0]]
    assert rows.found.tolist() == [True, True, True, False]


def test_an_item_table_that_cannot_be_read_is_the_bundles_fault(tmp_path):
    (tmp_path / "items.parquet").write_bytes(b"not parquet")

    with pytest.raises(BundleError, match="cannot be read"):
        read_items(tmp_path / "items.parquet", Encoder(SCHEMA))
