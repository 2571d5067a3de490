"""A process that follows the store, whatever the store does."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from contract.fusion import FusionProfile
from contract.plan import FusionPlan
from service.errors import StoreUnavailable
from service.ranking.compiling import ProfileCompiler
from service.ranking.follower import Follower
from service.ranking.fusions import FusionBook
from service.revisions import Change, ProcessState
from service.stores.last_good import LastGoodFile
from service.stores.memory import MemoryRevisionStore
from tests.fakes import PATIENCE_S


class Flaky(MemoryRevisionStore):
    """A store that goes away when a test says so."""

    def __init__(self):
        super().__init__()
        self.gone = False

    def forget_last(self):
        with self._changed:
            self._newest[self._revisions.pop().name] -= 1

    def _check(self):
        if self.gone:
            raise StoreUnavailable("nobody answers")

    def latest(self):
        self._check()
        return super().latest()

    def wait(self, after, *, timeout_s):
        self._check()
        newest = super().wait(after, timeout_s=timeout_s)
        self._check()
        return newest

    def report(self, state, *, lease_s):
        self._check()
        super().report(state, lease_s=lease_s)


class Following:
    """A follower on a store, and its states as they come."""

    def __init__(self, store, memory=None):
        self.store = store
        self.book = FusionBook(compile_profile=ProfileCompiler())
        self._changed = threading.Condition()
        self.states = []
        process = ProcessState(process_id="p1", host="here", pid=1, applied=0, seen_at=datetime.now(UTC))
        self.follower = Follower(
            store=store,
            books=[self.book],
            process=process,
            heartbeat_s=0.01,
            on_change=self._note,
            memory=memory,
        )

    def _note(self, state):
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()

    def until(self, holds):
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.follower.state), PATIENCE_S), self.follower.state

    def __enter__(self):
        asyncio.run(self.follower.start())
        return self

    def __exit__(self, *_):
        asyncio.run(self.follower.stop())


@pytest.fixture
def store():
    return Flaky()


def write(store, formula, *, name="default", document=None):
    seen = store.latest().get(f"fusion/{name}")
    text = document or FusionPlan(profile=FusionProfile(formula=formula)).model_dump_json()
    change = Change(name=f"fusion/{name}", document=text, expected=seen.revision if seen else 0, author="ana")
    return store.append(change)


def formula_of(book, name="default"):
    return book.standing(name).plan.profile.formula


def test_what_the_store_has_is_in_force_once_the_follower_has_started(store):
    write(store, "ctr")

    with Following(store) as following:
        assert formula_of(following.book) == "ctr"
        assert following.follower.state.is_up


def test_a_change_by_another_process_comes_into_force_and_is_reported_as_applied(store):
    with Following(store) as following:
        written = write(store, "ctr")
        following.until(lambda state: state.applied == written.sequence)

        assert formula_of(following.book) == "ctr"
        assert [(each.process_id, each.applied) for each in store.processes()] == [("p1", written.sequence)]


def test_while_the_store_is_gone_the_last_good_revision_serves_and_the_state_says_why(store):
    write(store, "ctr")
    with Following(store) as following:
        store.gone = True
        following.until(lambda state: not state.is_up)

        assert formula_of(following.book) == "ctr"
        assert following.follower.state.problem == "nobody answers"


def test_what_changed_while_the_store_was_gone_is_caught_up(store):
    write(store, "ctr")
    with Following(store) as following:
        store.gone = True
        following.until(lambda state: not state.is_up)
        store.gone = False
        written = write(store, "like")
        following.until(lambda state: state.is_up and state.applied == written.sequence)

        assert formula_of(following.book) == "like"


def test_a_store_that_came_back_without_its_last_change_is_what_all_agree_on(store):
    write(store, "ctr")
    write(store, "like")
    with Following(store) as following:
        store.gone = True
        following.until(lambda state: not state.is_up)
        store.forget_last()
        store.gone = False
        following.until(lambda state: state.is_up)

        assert formula_of(following.book) == "ctr"


def test_a_store_that_came_back_empty_leaves_the_last_good_revision_serving(store):
    write(store, "ctr")
    with Following(store) as following:
        store.gone = True
        following.until(lambda state: not state.is_up)
        store.forget_last()
        store.gone = False
        following.until(lambda state: state.is_up)

        assert formula_of(following.book) == "ctr"


def test_a_store_that_lost_its_last_change_without_a_silence_is_what_all_agree_on(store):
    first = write(store, "ctr")
    write(store, "like")
    with Following(store) as following:
        assert formula_of(following.book) == "like"
        store.forget_last()
        following.until(lambda state: state.applied == first.sequence)

        assert formula_of(following.book) == "ctr"


class TornAtTheEnd(Flaky):
    """Its newest change was damaged on disk: it counts, and nobody can read it."""

    def latest(self):
        return {name: each for name, each in super().latest().items() if each.sequence < len(self._revisions)}


def test_a_damaged_newest_change_counts_as_applied_so_that_nobody_waits_for_it_or_looks_without_pause():
    store = TornAtTheEnd()
    write(store, "ctr", name="other")
    torn = write(store, "like")
    with Following(store) as following:
        following.until(lambda state: state.applied == torn.sequence)

        assert formula_of(following.book, "other") == "ctr"
        assert store.wait(following.follower.state.applied, timeout_s=0.0) == torn.sequence


def test_a_store_that_is_gone_at_the_start_is_followed_as_soon_as_it_is_there(store):
    write(store, "ctr")
    store.gone = True
    with Following(store) as following:
        assert following.book.profiles() == {}
        store.gone = False
        following.until(lambda state: state.is_up)

        assert formula_of(following.book) == "ctr"


def test_a_revision_that_cannot_be_read_is_named_and_touches_nothing_else(store):
    write(store, "ctr")
    write(store, "like", name="other")
    with Following(store) as following:
        write(store, "", document="{torn")
        following.until(lambda state: bool(state.unreadable))

        assert set(following.follower.state.unreadable) == {"fusion/default"}
        assert (formula_of(following.book), formula_of(following.book, "other")) == ("ctr", "like")
        write(store, "like")
        following.until(lambda state: not state.unreadable)
        assert formula_of(following.book) == "like"


def test_a_start_on_a_revision_that_cannot_be_read_serves_the_last_good_one(store):
    write(store, "ctr")
    write(store, "", document="{torn")
    write(store, "", document="[]")

    with Following(store) as following:
        assert formula_of(following.book) == "ctr"
        assert set(following.follower.state.unreadable) == {"fusion/default"}


def test_a_process_that_stops_is_off_the_list(store):
    with Following(store) as following:
        following.until(lambda state: state.is_up)
        assert len(store.processes()) == 1

    assert list(store.processes()) == []


def test_a_start_without_the_store_serves_what_it_said_last(store, tmp_path):
    write(store, "ctr")
    memory = LastGoodFile(tmp_path / "var" / "last.json")
    with Following(store, memory):
        write(store, "like")
    store.gone = True

    with Following(store, memory) as following:
        assert formula_of(following.book) in ("ctr", "like")
        assert not following.follower.state.is_up
        store.gone = False
        following.until(lambda state: state.is_up)
        assert formula_of(following.book) == "like"


@pytest.mark.parametrize("content", [None, "", "{torn", "[1]", '[{"name": "fusion/default"}]'])
def test_a_start_without_the_store_and_without_a_good_file_waits_for_the_store(store, tmp_path, content):
    path = tmp_path / "last.json"
    if content is not None:
        path.write_text(content)
    write(store, "ctr")
    store.gone = True

    with Following(store, LastGoodFile(path)) as following:
        assert following.book.profiles() == {}
        store.gone = False
        following.until(lambda state: state.is_up)
        assert formula_of(following.book) == "ctr"


def test_a_disk_that_refuses_the_file_costs_nothing_else(store, tmp_path):
    (tmp_path / "file").write_text("no folder")
    write(store, "ctr")

    with Following(store, LastGoodFile(tmp_path / "file" / "last.json")) as following:
        assert formula_of(following.book) == "ctr"
