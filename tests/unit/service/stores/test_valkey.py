import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from service.errors import RevisionConflict, StoreUnavailable
from service.stores.valkey import ValkeyRevisionStore
from tests.fakes import PATIENCE_S
from tests.suites.durable_store import DurableStoreSuite
from tests.suites.revision_store import RevisionStoreSuite, change, process
from tests.valkey import ValkeyServer


class ServerOutage:
    """Kills the server, and starts it again."""

    def __init__(self, server):
        self.begin, self.end = server.kill, server.start


@pytest.fixture
def namespace():
    return uuid4().hex


@pytest.fixture
def open_store(valkey_server, namespace):
    with contextlib.ExitStack() as stack:

        def open_one(*, reconcile_s=600.0, **options):  # so that a test passes by what was pushed
            location = f"{valkey_server.url}?namespace={namespace}"
            return stack.enter_context(
                contextlib.closing(ValkeyRevisionStore.open(location, reconcile_s=reconcile_s, **options))
            )

        yield open_one


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def outage(valkey_server):
    yield ServerOutage(valkey_server)
    valkey_server.start()


@pytest.fixture
def operator(valkey_server):
    """Someone with a client of their own."""
    with valkey_server.client() as client:
        yield client


@pytest.fixture
def key(namespace):
    return f"fulcrum:{{{namespace}}}:".__add__


@pytest.fixture
def edit(operator, key):
    """Change the record of a revision by hand."""

    def change_record(name, number, how):
        field = f"{name}:{number}"
        if how == "missing":
            operator.hdel(key("revisions"), field)
            return
        record = operator.hget(key("revisions"), field)
        facts = json.loads(record)
        damaged = {
            "torn": record[: len(record) // 2],
            "no text": b"\xff\xfe",
            "edited": json.dumps({**facts, "author": "eve"}),
            "a bad time": json.dumps({**facts, "created_at": "yesterday"}),
            "no object": b"7",
            "elsewhere": operator.hget(key("revisions"), f"{name}:{number - 1}"),
            "no sequence": json.dumps({**facts, "sequence": None}),
        }[how]
        operator.hset(key("revisions"), field, damaged)

    return change_record


class TestValkeyRevisionStore(RevisionStoreSuite):
    @pytest.fixture
    def another(self, open_store):
        return open_store()


class TestValkeyOutlives(DurableStoreSuite):
    @pytest.fixture
    def damage(self, edit):
        return edit


@pytest.mark.parametrize("how", ["no object", "elsewhere", "no sequence"])
def test_a_record_that_is_none_of_this_revision_is_skipped(store, edit, how):
    good = store.append(change())
    store.append(change(expected=1))
    edit("fusion/a", 2, how)

    assert store.latest() == {"fusion/a": good}
    assert list(store.history("fusion/a")) == [good]


def test_an_edited_count_of_numbers_neither_stops_a_writer_nor_gives_a_number_again(store, operator, key):
    store.append(change())
    second = store.append(change(expected=1))
    operator.hset(key("numbers"), "fusion/a", "many")
    operator.set(key("sequence"), "many")
    assert store.latest() == {"fusion/a": second}

    third = store.append(change(expected=2))

    assert third.revision == 3
    assert third.sequence > second.sequence
    assert store.latest() == {"fusion/a": third}


@pytest.mark.parametrize("part", ["sequence", "numbers", "revisions"])
def test_a_key_of_another_kind_makes_the_store_unavailable_and_nothing_is_half_done(store, operator, key, part):
    written = store.append(change())
    operator.rename(key(part), key("aside"))
    operator.sadd(key(part), "no such kind")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        store.append(change(expected=1))
    operator.rename(key("aside"), key(part))

    assert store.latest() == {"fusion/a": written}
    assert store.append(change(expected=1)).revision == 2


def test_services_with_other_namespaces_share_a_server_and_see_nothing_of_each_other(valkey_server, store):
    store.append(change())
    store.report(process(), lease_s=60.0)
    location = f"{valkey_server.url}?namespace={uuid4().hex}"
    with contextlib.closing(ValkeyRevisionStore.open(location)) as other:
        assert dict(other.latest()) == {}
        assert list(other.processes()) == []
        assert other.wait(0, timeout_s=0.0) == 0


def test_sequences_grow_although_the_servers_clock_is_behind(store, operator, key):
    store.append(change())
    ahead = 2**52
    operator.set(key("sequence"), ahead)

    assert [store.append(change(expected=number)).sequence - ahead for number in (1, 2)] == [1, 2]


def test_a_message_that_was_lost_is_found_by_looking_now_and_then(open_store, operator, key, store):
    written = store.append(change())
    follower = open_store(reconcile_s=0.02)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(follower.wait, written.sequence, timeout_s=PATIENCE_S)
        operator.set(key("sequence"), written.sequence + 7)  # as a change whose message nobody got

        assert waiting.result(PATIENCE_S) == written.sequence + 7


def test_every_change_is_published_and_a_refused_one_is_not(store, operator, key):
    with operator.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe(key("changes"))
        assert subscriber.get_message(timeout=PATIENCE_S) is None  # the subscription stands
        for number in range(3):
            written = store.append(change(expected=number))
            assert int(subscriber.get_message(timeout=PATIENCE_S)["data"]) == written.sequence
        with pytest.raises(RevisionConflict):
            store.append(change(expected=7))

        assert subscriber.get_message() is None


def test_who_waits_hears_of_changes_again_after_its_connection_was_cut(open_store, store, operator):
    written = store.append(change())
    follower = open_store()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(follower.wait, written.sequence, timeout_s=600.0)
        follower._pulse.wait(0, PATIENCE_S)  # it is subscribed
        assert operator.client_kill_filter(_type="pubsub") >= 1
        written = store.append(change(expected=1))

        assert waiting.result(PATIENCE_S) == written.sequence


def test_a_server_that_says_nothing_makes_the_store_unavailable_instead_of_blocking(open_store, valkey_server):
    hasty = open_store(timeout_s=0.05)
    written = hasty.append(change())
    valkey_server.freeze()
    try:
        for ask in (hasty.latest, lambda: hasty.wait(written.sequence, timeout_s=600.0)):
            with pytest.raises(StoreUnavailable):
                ask()
        with pytest.raises(StoreUnavailable) as refusal:
            hasty.append(change(expected=1))
        assert "may have been kept" in refusal.value.fix
    finally:
        valkey_server.thaw()

    assert {each.revision for each in hasty.history("fusion/a")} in ({1}, {1, 2})


def test_a_server_that_came_back_empty_is_a_store_that_lost_its_changes_and_gives_higher_sequences():
    with ValkeyServer() as forgetful, contextlib.closing(ValkeyRevisionStore.open(forgetful.url)) as store:
        for number in range(5):
            lost = store.append(change(expected=number))
        forgetful.kill()
        forgetful.start()

        assert store.wait(lost.sequence, timeout_s=PATIENCE_S) == 0
        assert dict(store.latest()) == {}
        first = store.append(change())
        assert first.revision == 1
        assert first.sequence > lost.sequence
        assert store.wait(lost.sequence, timeout_s=PATIENCE_S) == first.sequence


def test_a_server_without_memory_refuses_a_change_whole_and_goes_on_reading():
    with ValkeyServer() as small, contextlib.closing(ValkeyRevisionStore.open(small.url)) as store:
        written = store.append(change())
        with small.client() as operator:
            operator.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable) as refusal:
                store.append(change(expected=1))
            assert store.latest() == {"fusion/a": written}
            operator.config_set("maxmemory", 0)

        assert "maxmemory" in refusal.value.fix
        assert store.append(change(expected=1)).revision == 2


def test_a_wrong_password_is_named_as_the_reason_and_shown_to_nobody():
    with ValkeyServer() as guarded:
        with guarded.client() as operator:
            operator.config_set("requirepass", "right-one")
        location = guarded.url.replace("unix://", "unix://:wrong-one@")
        stranger = ValkeyRevisionStore.open(location)
        with contextlib.closing(stranger), pytest.raises(StoreUnavailable, match="invalid") as refusal:
            stranger.append(change())
        with contextlib.closing(ValkeyRevisionStore.open(location.replace("wrong", "right"))) as store:
            assert store.append(change()).revision == 1

    assert "password" in refusal.value.fix
    assert "wrong-one" not in f"{refusal.value.detail} {refusal.value.fix} {refusal.value.__cause__!r}"


def test_a_clock_that_was_set_back_makes_no_process_immortal(store, operator, key):
    store.report(process("gone"), lease_s=60.0)
    facts = json.loads(operator.hget(key("processes"), "gone"))
    late = json.dumps({**facts, "seen_ms": facts["seen_ms"] + 3_600_000}, separators=(",", ":"))
    operator.hset(key("processes"), "gone", late)
    assert list(store.processes()) == []

    store.report(process("alive"), lease_s=60.0)

    assert operator.hkeys(key("processes")) == [b"alive"]


@pytest.mark.parametrize("word", [b"\xff", b"7", b"{}", b'{"seen_ms":"now","lease_ms":1}'])
def test_a_damaged_word_of_a_process_is_skipped_until_it_speaks_again(store, operator, key, word):
    operator.hset(key("processes"), "p1", word)
    store.report(process("p2"), lease_s=60.0)
    assert [each.process_id for each in store.processes()] == ["p2"]

    store.report(process("p1"), lease_s=60.0)

    assert [each.process_id for each in store.processes()] == ["p1", "p2"]


class Writer:
    """Appends documents one after another, through whatever happens to the store."""

    def __init__(self, store, number):
        self._store = store
        self.documents = [f'{{"writer": {number}, "change": {each}}}' for each in range(50)]
        self.answered = []

    def run(self, halfway):
        for position, document in enumerate(self.documents):
            halfway(position)
            while not self._append(document):
                pass

    def _append(self, document):
        """Append it, unless a try whose answer was lost has done so."""
        try:
            kept = next((each for each in self._store.history("fusion/a") if each.document == document), None)
            newest = self._store.latest().get("fusion/a")
            if kept is None:
                asked = replace(change(expected=newest.revision if newest else 0), document=document)
                self.answered.append(self._store.append(asked))
        except (RevisionConflict, StoreUnavailable):
            return False
        return True


def test_a_server_that_is_killed_between_four_writers_loses_nothing_that_was_answered(open_store, outage, store):
    writers = [Writer(open_store(), number) for number in range(4)]

    def halfway(number):
        def strike(position):
            if number == 0 and position in (15, 30):
                outage.begin()
                outage.end()

        return strike

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda each: each[1].run(halfway(each[0])), enumerate(writers)))

    kept = list(reversed(store.history("fusion/a", limit=1_000)))
    assert [each.revision for each in kept] == list(range(1, 201))
    assert sorted(each.document for each in kept) == sorted(text for writer in writers for text in writer.documents)
    assert [each.sequence for each in kept] == sorted({each.sequence for each in kept})
    assert {answer for writer in writers for answer in writer.answered} <= set(kept)


def test_a_change_whose_answer_was_lost_is_found_by_trying_it_again(store, valkey_server, open_store):
    hasty, asked = open_store(timeout_s=0.05), change(reason="once")
    before = hasty.append(change("fusion/b"))
    valkey_server.freeze()
    try:
        with pytest.raises(StoreUnavailable):
            hasty.append(asked)
    finally:
        valkey_server.thaw()
    assert store.wait(before.sequence, timeout_s=PATIENCE_S) != before.sequence

    with pytest.raises(RevisionConflict) as refusal:
        hasty.append(asked)

    assert (refusal.value.newest.document, refusal.value.newest.author) == (asked.document, asked.author)
    assert len(store.history("fusion/a")) == 1
