"""A file that an older release has written is taken over when it is first used."""

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from contract.fusion import FusionProfile
from contract.plan import FusionPlan
from service.stores.sqlite import SqliteRevisionStore
from tests.suites.revision_store import change

_OLD = """
CREATE TABLE fusion_revisions (
    profile TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    document TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (profile, revision)
) WITHOUT ROWID
"""
START = datetime(2026, 3, 1, tzinfo=UTC)


def profile(weight):
    return FusionProfile(formula="w * ctr", weights={"w": weight})


def row(name, number, weight, *, minutes, document=None, created_at=None):
    text = profile(weight).model_dump_json() if document is None else document
    moment = (START + timedelta(minutes=minutes)).isoformat() if created_at is None else created_at
    return name, number, text, moment


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fusion.sqlite"


@pytest.fixture
def take_over(path):
    """Write a file of the old layout and give a store on it."""
    with contextlib.ExitStack() as stack:

        def write(*rows):
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(_OLD)
                connection.executemany("INSERT INTO fusion_revisions VALUES (?, ?, ?, ?)", rows)
            return stack.enter_context(contextlib.closing(SqliteRevisionStore(path)))

        yield write


def test_every_old_revision_comes_over_as_a_plan_under_its_number_and_time(take_over):
    store = take_over(row("a", 1, 1.0, minutes=0), row("a", 2, 2.0, minutes=5))

    newest, oldest = store.history("fusion/a")

    assert (oldest.revision, newest.revision) == (1, 2)
    assert FusionPlan.model_validate_json(newest.document) == FusionPlan(profile=profile(2.0))
    assert (newest.author, newest.reason, newest.action) == ("before", "", "put")
    assert newest.created_at == START + timedelta(minutes=5)
    assert store.latest() == {"fusion/a": newest}


def test_sequences_follow_the_times_over_all_profiles_and_the_numbers_within_one(take_over):
    store = take_over(
        row("a", 1, 1.0, minutes=0),
        row("b", 1, 1.0, minutes=1),
        row("a", 2, 2.0, minutes=2),
        row("a", 3, 3.0, minutes=-30),  # its clock had been set back
        row("b", 2, 2.0, minutes=3),
    )

    revisions = [*store.history("fusion/a"), *store.history("fusion/b")]

    ordered = sorted(revisions, key=lambda each: each.sequence)
    assert [(each.name[-1], each.revision) for each in ordered] == [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)]
    assert len({each.sequence for each in ordered}) == 5
    assert store.wait(0, timeout_s=0.0) == ordered[-1].sequence


def test_taking_over_happens_once_whoever_comes_first(path, take_over):
    first = take_over(row("a", 1, 1.0, minutes=0))
    with contextlib.closing(SqliteRevisionStore(path)) as second, ThreadPoolExecutor(2) as threads:
        seen = list(threads.map(lambda store: store.history("fusion/a"), [first, second]))
        first.append(change("fusion/a", expected=1))
    with contextlib.closing(SqliteRevisionStore(path)) as third:
        assert [each.revision for each in third.history("fusion/a")] == [2, 1]

    assert seen[0] == seen[1]
    assert len(seen[0]) == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"document": "{"},
        {"document": '{"formula": ""}'},
        {"document": b"\xff\xfe"},
        {"created_at": "yesterday"},
        {"created_at": "2026-03-01T00:00:00"},
    ],
    ids=["torn", "no profile", "no text", "a bad time", "no time zone"],
)
def test_a_damaged_old_revision_is_skipped_and_its_number_is_not_given_again(take_over, damage):
    store = take_over(row("a", 1, 1.0, minutes=0), row("a", 2, 2.0, minutes=5, **damage), row("b", 1, 1.0, minutes=9))

    assert {name: each.revision for name, each in store.latest().items()} == {"fusion/a": 1, "fusion/b": 1}
    assert store.append(change("fusion/a", expected=1)).revision == 3


def test_the_old_table_stays_as_it_was_for_who_goes_back(path, take_over):
    rows = [row("a", 1, 1.0, minutes=0), row("a", 2, 2.0, minutes=5)]
    take_over(*rows).append(change("fusion/a", expected=2))

    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM fusion_revisions ORDER BY revision").fetchall() == rows
