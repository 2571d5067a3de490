"""What every revision store must do, whatever it is made of."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import RevisionConflict
from service.revisions import Change, ProcessState
from tests.fakes import PATIENCE_S


def change(name: str = "fusion/a", *, expected: int = 0, weight: float = 1.0, **more) -> Change:
    return Change(name=name, document=f'{{"weight": {weight}}}', expected=expected, author="ana", **more)


def process(process_id: str = "p1", *, applied: int = 0) -> ProcessState:
    return ProcessState(process_id=process_id, host="here", pid=1, applied=applied, seen_at=datetime.now(UTC))


class RevisionStoreSuite:
    """Inherit and give a fixture ``store``, and ``another``: a second handle on the same revisions."""

    def test_a_new_store_knows_no_document(self, store):
        assert dict(store.latest()) == {}
        assert list(store.history("fusion/a")) == []
        assert store.wait(0, timeout_s=0.0) == 0

    def test_revisions_of_each_name_grow_from_one_and_the_sequence_counts_them_all(self, store):
        names = ("fusion/a", "fusion/a", "fusion/b", "fusion/a", "fusion/b")
        seen: dict[str, int] = {}
        written = []
        for name in names:
            written.append(store.append(change(name, expected=seen.get(name, 0))))
            seen[name] = written[-1].revision

        assert [each.revision for each in written] == [1, 2, 1, 3, 2]
        sequences = [each.sequence for each in written]
        assert sequences == sorted(set(sequences))
        assert store.wait(0, timeout_s=0.0) == sequences[-1]

    def test_what_was_written_comes_back_as_it_was_with_author_reason_action_and_time_zone(self, store):
        asked = change(reason="the campaign of the 24th ü", action="weights")

        written = store.append(asked)

        assert (written.name, written.document) == (asked.name, asked.document)
        assert (written.author, written.reason, written.action) == ("ana", "the campaign of the 24th ü", "weights")
        assert written.created_at.utcoffset() is not None
        assert store.latest() == {"fusion/a": written}

    @pytest.mark.parametrize("text", ["", "ü 漢 🙂", "two\nlines", "a\x00b", "'; DROP TABLE x; --", "{" * 5_000])
    def test_any_text_is_kept_to_the_letter(self, store, text):
        written = store.append(Change(name="fusion/ü:1", document=text, expected=0, author=text, reason=text))

        assert (written.document, written.author, written.reason) == (text, text, text)
        assert store.latest() == {"fusion/ü:1": written}
        assert list(store.history("fusion/ü:1")) == [written]

    def test_a_writer_who_has_not_seen_the_newest_revision_is_told_who_changed_it_and_changes_nothing(self, store):
        first = store.append(change())
        newest = store.append(change(expected=1, weight=2.0, reason="more clicks"))

        with pytest.raises(RevisionConflict) as refusal:
            store.append(change(expected=first.revision, weight=3.0))

        assert refusal.value.newest == newest
        assert "ana" in refusal.value.detail
        assert "more clicks" in refusal.value.detail
        assert store.latest() == {"fusion/a": newest}

    @pytest.mark.parametrize("expected", [1, 7])
    def test_nobody_changes_what_does_not_exist(self, store, expected):
        with pytest.raises(RevisionConflict) as refusal:
            store.append(change(expected=expected))

        assert refusal.value.newest is None
        assert dict(store.latest()) == {}

    def test_history_is_whole_ordered_and_read_page_by_page(self, store):
        for number in range(7):
            store.append(change(expected=number, weight=number))
        store.append(change("fusion/b"))

        first = store.history("fusion/a", limit=3)
        rest = store.history("fusion/a", before=first[-1].revision, limit=10)

        assert [each.revision for each in (*first, *rest)] == [7, 6, 5, 4, 3, 2, 1]
        assert [each.document for each in rest] == [f'{{"weight": {number}}}' for number in (3, 2, 1, 0)]
        assert list(store.history("fusion/a", before=1)) == []
        assert [each.revision for each in store.history("fusion/a", before=10**30, limit=1)] == [7]
        assert list(store.history("fusion/nobody")) == []

    def test_of_writers_at_the_same_time_one_wins_each_number_and_nothing_is_lost(self, store):
        def insist(weight: int) -> int:
            while True:
                try:
                    seen = store.latest().get("fusion/a")
                    return store.append(change(expected=seen.revision if seen else 0, weight=weight)).revision
                except RevisionConflict:
                    continue

        with ThreadPoolExecutor(4) as threads:
            numbers = list(threads.map(insist, range(24)))

        assert sorted(numbers) == list(range(1, 25))
        documents = {each.document for each in store.history("fusion/a")}
        assert documents == {change(weight=weight).document for weight in range(24)}

    @given(asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=12))
    @settings(
        max_examples=25,
        deadline=None,
        database=None,  # a run of one store is not replayed on another, so the second check has nothing to warn of
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    def test_any_run_of_changes_is_kept_or_refused_as_by_a_plain_list_a_name(self, store, asked):
        run = uuid4().hex  # names of its own: the store is the same for all examples
        model = {name: [] for name in "abc"}
        for name, expected in asked:
            fits = expected == len(model[name])
            try:
                model[name].append(store.append(change(f"{run}/{name}", expected=expected)))
            except RevisionConflict:
                assert not fits
            else:
                assert fits

        for name, written in model.items():
            assert list(store.history(f"{run}/{name}")) == written[::-1]
            assert [each.revision for each in written] == list(range(1, len(written) + 1))
        newest = {name: each for name, each in store.latest().items() if name.startswith(run)}
        assert newest == {f"{run}/{name}": written[-1] for name, written in model.items() if written}

    def test_another_handle_sees_what_was_written(self, store, another):
        written = store.append(change())

        assert another.latest() == {"fusion/a": written}
        assert another.wait(0, timeout_s=PATIENCE_S) == written.sequence

    def test_who_waits_is_woken_by_a_change_through_another_handle(self, store, another):
        first = store.append(change())
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(another.wait, first.sequence, timeout_s=PATIENCE_S)
            second = store.append(change(expected=1))

            assert waiting.result(PATIENCE_S) == second.sequence

    def test_everyone_who_waits_is_woken_by_one_change_through_their_own_handle(self, store):
        with ThreadPoolExecutor(3) as threads:
            waiting = [threads.submit(store.wait, 0, timeout_s=PATIENCE_S) for _ in range(3)]
            written = store.append(change())

            assert [each.result(PATIENCE_S) for each in waiting] == [written.sequence] * 3

    def test_followers_and_a_writer_on_one_handle_do_not_stand_in_each_others_way(self, store):
        def follow():
            newest, seen = 0, None
            while seen is None or seen.revision < 20:
                newest = store.wait(newest, timeout_s=PATIENCE_S)
                seen = store.latest().get("fusion/a")
            return seen

        with ThreadPoolExecutor(4) as threads:
            following = [threads.submit(follow) for _ in range(4)]
            written = [store.append(change(expected=number)) for number in range(20)]

            assert [each.result(PATIENCE_S) for each in following] == [written[-1]] * 4

    def test_who_is_ahead_of_the_store_is_told_at_once_that_changes_were_lost(self, store):
        written = store.append(change())

        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(store.wait, written.sequence + 1, timeout_s=600.0)

            assert waiting.result(PATIENCE_S) == written.sequence

    def test_who_waits_for_nothing_gets_the_newest_sequence_when_the_time_is_over(self, store):
        written = store.append(change())

        assert store.wait(written.sequence, timeout_s=0.01) == written.sequence

    def test_closing_wakes_who_waits(self, another):
        entered = threading.Event()

        def wait() -> int:
            entered.set()
            return another.wait(0, timeout_s=600.0)

        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(wait)
            assert entered.wait(PATIENCE_S)
            another.close()

            assert waiting.result(PATIENCE_S) == 0

    def test_processes_say_how_far_they_are_and_the_last_word_counts(self, store, another):
        store.report(process("p2", applied=3), lease_s=60.0)
        another.report(process("p1", applied=4), lease_s=60.0)
        store.report(process("p2", applied=5), lease_s=60.0)

        assert [(each.process_id, each.applied) for each in another.processes()] == [("p1", 4), ("p2", 5)]

    def test_a_process_comes_back_from_the_list_as_it_described_itself_but_for_the_stores_time(self, store):
        asked = process("p1", applied=2**53 - 1)

        store.report(asked, lease_s=60.0)
        (found,) = store.processes()

        assert replace(found, seen_at=asked.seen_at) == asked
        assert found.seen_at.utcoffset() is not None

    def test_the_word_of_a_process_is_no_change(self, store):
        store.report(process(), lease_s=60.0)

        assert store.wait(0, timeout_s=0.01) == 0
        assert dict(store.latest()) == {}

    def test_a_process_whose_lease_is_over_counts_as_gone(self, store):
        store.report(process("p1"), lease_s=60.0)
        store.report(process("p2"), lease_s=0.0)

        assert [each.process_id for each in store.processes()] == ["p1"]

    def test_a_process_that_stops_takes_itself_off_the_list(self, store):
        store.report(process("p1"), lease_s=60.0)
        store.withdraw("p1")
        store.withdraw("p1")

        assert list(store.processes()) == []

    def test_what_one_reads_cannot_be_changed_by_the_reader(self, store):
        written = store.append(change())
        replace(written, author="eve")
        dict(store.latest()).clear()

        assert store.latest() == {"fusion/a": written}
