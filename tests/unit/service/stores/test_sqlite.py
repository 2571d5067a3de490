import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import StoreUnavailable
from service.stores.sqlite import SqliteFusionStore
from tests.suites.fusion_store import FusionStoreSuite, profile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "fusion.sqlite"


@pytest.fixture
def store(path):
    with contextlib.closing(SqliteFusionStore.open(path)) as store:
        yield store


def damage(path, revision, column, value):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE fusion_revisions SET {column} = ? WHERE revision = ?", (value, revision))  # noqa: S608


class TestSqliteFusionStore(FusionStoreSuite):
    @pytest.fixture
    def store(self, path):
        with contextlib.closing(SqliteFusionStore.open(path)) as store:
            yield store


def test_what_was_written_survives_a_restart(path):
    with contextlib.closing(SqliteFusionStore.open(path)) as first:
        first.append("a", profile(1))
        written = first.append("a", profile(2))

    with contextlib.closing(SqliteFusionStore.open(path)) as second:
        assert dict(second.latest()) == {"a": written}
        assert second.append("a", profile(3)).revision == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [("document", "{"), ("document", '{"formula": ""}'), ("document", b"\xff\xfe"), ("created_at", "yesterday")],
)
def test_a_damaged_revision_is_skipped_and_the_last_good_one_serves(path, store, column, value):
    good = store.append("a", profile(1))
    store.append("a", profile(2))
    damage(path, 2, column, value)

    assert dict(store.latest()) == {"a": good}


def test_the_number_of_a_damaged_revision_is_not_given_again(path, store):
    store.append("a", profile(1))
    store.append("a", profile(2))
    damage(path, 2, "document", "{")

    assert store.append("a", profile(3)).revision == 3


def test_a_file_that_is_no_database_is_a_store_that_is_unavailable(tmp_path):
    path = tmp_path / "fusion.sqlite"
    path.write_bytes(b"this was never a database " * 100)

    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        SqliteFusionStore.open(path)


def test_a_closed_store_says_that_it_is_unavailable(path):
    store = SqliteFusionStore.open(path)
    store.close()

    with pytest.raises(StoreUnavailable):
        store.append("a", profile(1))
    with pytest.raises(StoreUnavailable):
        store.latest()


def test_two_processes_on_one_file_never_give_the_same_number(path, store):
    with contextlib.closing(SqliteFusionStore.open(path)) as other, ThreadPoolExecutor(4) as threads:
        writers = [store, other] * 15
        numbers = list(threads.map(lambda writer: writer.append("a", profile(1)).revision, writers))

        assert sorted(numbers) == list(range(1, 31))
        assert store.latest() == other.latest()
