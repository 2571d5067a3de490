import contextlib
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import StoreUnavailable
from service.stores.sqlite import SqliteRevisionStore
from tests.fakes import PATIENCE_S
from tests.suites.durable_store import DurableStoreSuite
from tests.suites.revision_store import RevisionStoreSuite, change, process

ROOT = Path(__file__).parents[4]
_EDITS = {
    "torn": "UPDATE revisions SET document = substr(document, 1, 3) WHERE name = ? AND revision = ?",
    "no text": "UPDATE revisions SET document = x'fffe' WHERE name = ? AND revision = ?",
    "edited": "UPDATE revisions SET author = 'eve' WHERE name = ? AND revision = ?",
    "a bad time": "UPDATE revisions SET created_at = 'yesterday' WHERE name = ? AND revision = ?",
    "missing": "DELETE FROM revisions WHERE name = ? AND revision = ?",
}


def edit(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


class FileOutage:
    """Moves the file and what belongs to it away, and back."""

    def __init__(self, path):
        self._path = path

    def begin(self):
        for file in self._path.parent.glob(self._path.name + "*"):
            file.rename(file.with_name("away-" + file.name))

    def end(self):
        for file in self._path.parent.glob("away-*"):
            file.rename(file.with_name(file.name.removeprefix("away-")))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "fulcrum?1.sqlite"


@pytest.fixture
def open_store(path):
    with contextlib.ExitStack() as stack:

        def open_one(**options):
            return stack.enter_context(contextlib.closing(SqliteRevisionStore(path, **options)))

        yield open_one


@pytest.fixture
def store(open_store):
    return open_store()


class TestSqliteRevisionStore(RevisionStoreSuite):
    @pytest.fixture
    def another(self, open_store):
        return open_store()


class TestSqliteOutlives(DurableStoreSuite):
    @pytest.fixture
    def outage(self, path):
        return FileOutage(path)

    @pytest.fixture
    def damage(self, path):
        return lambda name, revision, how: edit(path, _EDITS[how], name, revision)


def test_a_change_is_on_the_disk_before_it_is_answered(store):
    with store._writer.use() as connection:
        found = [connection.execute(f"PRAGMA {each}").fetchone()[0] for each in ("synchronous", "journal_mode")]

    assert found == [2, "wal"]  # FULL: https://sqlite.org/pragma.html#pragma_synchronous


def test_a_change_through_the_same_handle_wakes_at_once_and_not_at_the_next_look(open_store):
    slow = open_store(look_every_s=600.0)
    with ThreadPoolExecutor(1) as threads:
        written = slow.append(change())
        for number in range(1, 6):
            waiting = threads.submit(slow.wait, written.sequence, timeout_s=600.0)
            written = slow.append(change(expected=number))

            assert waiting.result(PATIENCE_S) == written.sequence


def test_a_row_with_a_null_is_skipped(path, store):
    good = store.append(change())
    store.append(change(expected=1))
    edit(path, "CREATE TABLE loose AS SELECT * FROM revisions")
    edit(path, "UPDATE loose SET document = NULL WHERE revision = 2")
    edit(path, "DROP TABLE revisions")
    edit(path, "ALTER TABLE loose RENAME TO revisions")

    assert store.latest() == {"fusion/a": good}


@pytest.mark.parametrize("value", ["many", None, b"\xff"])
def test_an_edited_count_of_numbers_neither_stops_a_writer_nor_gives_a_number_again(path, store, value):
    store.append(change())
    first = store.append(change(expected=1))
    edit(path, "UPDATE sqlite_sequence SET seq = ?", value)
    if value is not None:
        edit(path, "UPDATE numbers SET revision = ?", value)

    second = store.append(change(expected=2))

    assert second.revision == 3
    assert second.sequence > first.sequence
    assert store.latest() == {"fusion/a": second}


def test_a_file_that_is_no_database_is_a_store_that_is_unavailable_until_it_is_moved_aside(tmp_path, path, store):
    path.parent.mkdir()
    path.write_bytes(b"this was never a database " * 100)
    with pytest.raises(StoreUnavailable, match="not a database") as refusal:
        store.latest()
    path.rename(tmp_path / "aside")

    assert "aside" in refusal.value.fix
    assert store.append(change()).revision == 1


def test_a_folder_that_cannot_be_made_is_a_store_that_is_unavailable_until_it_can(tmp_path, store):
    in_the_way = tmp_path / "new folder"
    in_the_way.write_text("a file")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.latest()
    in_the_way.unlink()

    assert store.append(change()).revision == 1


def test_a_file_of_a_later_release_is_refused_and_left_alone(path, store, open_store):
    store.append(change())
    store.close()
    edit(path, "PRAGMA user_version = 7")
    before = path.read_bytes()

    with pytest.raises(StoreUnavailable, match="layout 7"):
        open_store().append(change(expected=1))
    assert path.read_bytes() == before


def test_a_file_that_is_gone_is_not_begun_anew_by_who_has_used_it(path, store):
    store.append(change())
    for file in path.parent.iterdir():
        file.unlink()

    with pytest.raises(StoreUnavailable, match="gone"):
        store.append(change(expected=1))
    assert not path.exists()


def test_a_file_that_was_begun_anew_gives_higher_sequences_and_who_waits_hears_of_it(path, store, open_store):
    lost = store.append(change())
    for file in path.parent.iterdir():
        file.unlink()
    with contextlib.closing(SqliteRevisionStore(path)) as restarted:
        first = restarted.append(change("fusion/b"))

        assert first.sequence > lost.sequence
        assert store.wait(lost.sequence, timeout_s=PATIENCE_S) == first.sequence
        assert store.latest() == {"fusion/b": first}


def test_sequences_grow_although_the_clock_is_behind(path, store):
    store.append(change())
    ahead = 2**52
    edit(path, "UPDATE sqlite_sequence SET seq = ?", ahead)

    assert [store.append(change(expected=number)).sequence - ahead for number in (1, 2)] == [1, 2]


def test_a_writer_that_finds_the_file_locked_says_so_and_readers_go_on(path, store, open_store):
    written = store.append(change())
    hasty = open_store(busy_s=0.0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable, match="locked"):
            hasty.append(change(expected=1))
        assert hasty.latest() == {"fusion/a": written}

    assert hasty.append(change(expected=1)).revision == 2


def test_on_a_full_disk_nothing_changes_and_the_fix_is_space(store):
    written = store.append(change())
    with store._writer.use() as connection:
        connection.execute("PRAGMA max_page_count = 1")
    large = change(expected=1, reason="r" * 100_000)

    with pytest.raises(StoreUnavailable, match="full") as refusal:
        store.append(large)

    assert "space" in refusal.value.fix
    assert store.latest() == {"fusion/a": written}
    assert store.append(large).revision == 2  # the connection was opened again, without the limit


def test_a_clock_that_was_set_back_makes_no_process_immortal(path, store):
    store.report(process("gone"), lease_s=60.0)
    edit(path, "UPDATE processes SET seen_us = seen_us + 3600000000")
    store.report(process("alive"), lease_s=60.0)

    assert [each.process_id for each in store.processes()] == ["alive"]


def test_a_damaged_word_of_a_process_is_skipped_until_it_speaks_again(path, store):
    store.report(process("p1"), lease_s=60.0)
    edit(path, "UPDATE processes SET host = x'ff'")
    store.report(process("p2"), lease_s=60.0)
    assert [each.process_id for each in store.processes()] == ["p2"]

    store.report(process("p1"), lease_s=60.0)

    assert [each.process_id for each in store.processes()] == ["p1", "p2"]


def python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, text=True, **options)


_WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from service.stores.sqlite import SqliteRevisionStore
from tests.suites.revision_store import change
store, number = SqliteRevisionStore(Path(sys.argv[1])), 0
while number < int(sys.argv[2]):
    number = store.append(change(sys.argv[3], expected=number)).revision
    print(number, flush=True)
"""


def test_a_process_that_is_killed_in_the_middle_of_writing_loses_nothing_that_was_answered(path, store):
    with python(_WRITER, path, 100_000, "fusion/a", stdout=subprocess.PIPE) as writer:
        told = [writer.stdout.readline() for _ in range(30)]
        writer.kill()
        told += writer.stdout.readlines()

    answered = [int(line) for line in told if line.endswith("\n")]
    kept = [each.revision for each in reversed(store.history("fusion/a", limit=200_000))]
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) - len(answered) in {0, 1}  # the last one may have been kept without an answer
    assert store.append(change(expected=len(kept))).revision == len(kept) + 1


def test_processes_that_begin_one_new_file_at_the_same_moment_all_write_to_it(path, store):
    names = [f"fusion/{number}" for number in range(4)]
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(python(_WRITER, path, 5, name, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
            for name in names
        ]
        errors = [writer.communicate(timeout=60)[1] for writer in writers]

    assert errors == [""] * 4
    assert {name: each.revision for name, each in store.latest().items()} == dict.fromkeys(names, 5)


_FOLLOWER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from service.stores.sqlite import SqliteRevisionStore
store, newest = SqliteRevisionStore(Path(sys.argv[1])), 0
while True:
    print(newest, flush=True)
    newest = store.wait(newest, timeout_s=600.0)
"""


def test_a_process_that_waits_is_woken_by_every_change_of_another_process(path, store):
    with python(_FOLLOWER, path, stdout=subprocess.PIPE) as follower:
        try:
            assert follower.stdout.readline() == "0\n"
            for number in range(10):
                written = store.append(change(expected=number))
                assert follower.stdout.readline() == f"{written.sequence}\n"
        finally:
            follower.kill()
