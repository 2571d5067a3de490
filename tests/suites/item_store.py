"""What every item store must do; ``store`` holds ``i1`` (price 1), ``i2`` (price 2) and ``i3`` (price 3)."""

import asyncio

import numpy as np

from contract.features import MISSING_ID, Categorical, FeatureSchema, Numeric, Standard

SCHEMA = FeatureSchema(
    fields=(
        Categorical(name="category", side="candidate", dtype="string", table="category"),
        Numeric(name="price", side="candidate", scaling=Standard(mean=0.0, std=1.0), default=7.0),
    ),
    vocabularies={"category": ("red", "blue")},
)
COLUMNS = {"category": ["red", "blue", "red"], "price": [1.0, 2.0, 3.0]}
ITEM_IDS = ["i1", "i2", "i3"]


class ItemStoreSuite:
    """Inherit and give a fixture ``store``."""

    def test_rows_come_in_the_order_asked(self, store):
        rows = asyncio.run(store.fetch(["i3", "i1", "i2", "i3"]))

        assert rows.numbers["price"].tolist() == [3.0, 1.0, 2.0, 3.0]
        assert rows.encoded.dense[:, 0].tolist() == [3.0, 1.0, 2.0, 3.0]
        assert rows.encoded.ids[:, 0].tolist() == [2, 2, 3, 2]
        assert rows.found.all()

    def test_an_unknown_item_is_not_found_and_has_every_field_missing(self, store):
        rows = asyncio.run(store.fetch(["i1", "nobody", "i2"]))

        assert rows.found.tolist() == [True, False, True]
        assert rows.encoded.ids[1].tolist() == [MISSING_ID]
        assert rows.encoded.dense[1].tolist() == [7.0]
        assert rows.numbers["price"].tolist() == [1.0, 7.0, 2.0]

    def test_asking_for_nothing_gives_no_rows(self, store):
        rows = asyncio.run(store.fetch([]))

        assert len(rows.encoded) == 0
        assert rows.found.shape == (0,)

    def test_what_a_caller_does_to_its_rows_stays_with_the_caller(self, store):
        first = asyncio.run(store.fetch(["i1"]))
        first.encoded.dense[:] = np.nan
        first.numbers["price"][:] = np.nan

        again = asyncio.run(store.fetch(["i1"]))

        assert again.encoded.dense.tolist() == [[1.0]]
        assert again.numbers["price"].tolist() == [1.0]
