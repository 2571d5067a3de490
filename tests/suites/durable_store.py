"""What every revision store that outlives its process must do when it is restarted, gone or damaged."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import RevisionConflict, StoreUnavailable
from tests.fakes import PATIENCE_S
from tests.suites.revision_store import change, process

DAMAGES = ("torn", "no text", "edited", "a bad time", "missing")


class DurableStoreSuite:
    """Inherit and give these fixtures.

    ``store`` and ``open_store()``, which gives one more handle; ``outage``, with ``begin()`` and ``end()``, which takes
    the technology away and brings it back with its revisions; ``damage(name, revision, how)``, how one of ``DAMAGES``.
    """

    def test_what_was_written_survives_a_restart(self, store, open_store):
        store.append(change())
        written = store.append(change(expected=1))
        store.close()

        again = open_store()

        assert again.latest() == {"fusion/a": written}
        assert again.wait(0, timeout_s=0.0) == written.sequence
        assert again.append(change(expected=2)).revision == 3

    @pytest.mark.parametrize("how", DAMAGES)
    def test_a_damaged_revision_is_skipped_and_the_last_good_one_serves(self, store, damage, how):
        good = store.append(change())
        store.append(change(expected=1))
        other = store.append(change("fusion/b"))
        damage("fusion/a", 2, how)

        assert store.latest() == {"fusion/a": good, "fusion/b": other}
        assert list(store.history("fusion/a")) == [good]

    @pytest.mark.parametrize("how", DAMAGES)
    def test_a_name_without_a_readable_revision_is_left_out(self, store, damage, how):
        store.append(change())
        damage("fusion/a", 1, how)

        assert dict(store.latest()) == {}

    @pytest.mark.parametrize("how", DAMAGES)
    @pytest.mark.parametrize("expected", [1, 2], ids=["who sees the one before", "who has seen it whole"])
    def test_the_number_of_a_damaged_revision_is_not_given_again(self, store, damage, how, expected):
        first = store.append(change())
        second = store.append(change(expected=1))
        damage("fusion/a", 2, how)

        third = store.append(change(expected=expected))

        assert third.revision == 3
        assert third.sequence > second.sequence
        assert list(store.history("fusion/a")) == [third, first]

    def test_a_page_of_history_is_full_although_some_of_it_is_damaged(self, store, damage):
        for number in range(9):
            store.append(change(expected=number))
        for number in (8, 7, 5):
            damage("fusion/a", number, "torn")

        assert [each.revision for each in store.history("fusion/a", limit=4)] == [9, 6, 4, 3]

    def test_a_store_that_is_gone_says_so_in_every_answer_and_how_to_mend_it(self, store, outage):
        written = store.append(change())
        outage.begin()

        for ask in (
            store.latest,
            store.processes,
            lambda: store.history("fusion/a"),
            lambda: store.append(change(expected=1)),
            lambda: store.wait(written.sequence, timeout_s=600.0),
            lambda: store.report(process(), lease_s=60.0),
            lambda: store.withdraw("p1"),
        ):
            with pytest.raises(StoreUnavailable) as refusal:
                ask()
            assert refusal.value.fix
            assert refusal.value.retry_after_s

    def test_every_handle_recovers_by_itself_when_the_store_is_back(self, store, open_store, outage):
        written, other = store.append(change()), open_store()
        assert other.latest() == {"fusion/a": written}
        outage.begin()
        for handle in (store, other):
            with pytest.raises(StoreUnavailable):
                handle.latest()
        outage.end()

        assert store.latest() == other.latest() == {"fusion/a": written}
        second = other.append(change(expected=1))
        assert store.wait(written.sequence, timeout_s=PATIENCE_S) == second.sequence

    def test_who_waits_hears_of_an_outage_at_once_and_afterwards_of_a_change(self, store, open_store, outage):
        written, other = store.append(change()), open_store()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(store.wait, written.sequence, timeout_s=600.0)
            outage.begin()
            with pytest.raises(StoreUnavailable):
                waiting.result(PATIENCE_S)
            outage.end()

            waiting = threads.submit(store.wait, written.sequence, timeout_s=PATIENCE_S)
            second = other.append(change(expected=1))
            assert waiting.result(PATIENCE_S) == second.sequence

    def test_a_store_that_is_not_there_at_the_start_is_used_as_soon_as_it_is(self, store, open_store, outage):
        written = store.append(change())
        outage.begin()
        late = open_store()
        outage.end()

        assert late.latest() == {"fusion/a": written}

    def test_a_closed_store_says_that_it_is_unavailable(self, store):
        store.close()
        store.close()

        with pytest.raises(StoreUnavailable, match="closed"):
            store.append(change())
        with pytest.raises(StoreUnavailable, match="closed"):
            store.latest()

    def test_writers_on_two_handles_never_get_the_same_number(self, store, open_store):
        def insist(handle):
            while True:
                try:
                    seen = handle.latest().get("fusion/a")
                    return handle.append(change(expected=seen.revision if seen else 0))
                except RevisionConflict:
                    continue

        with ThreadPoolExecutor(4) as threads:
            written = list(threads.map(insist, [store, open_store()] * 12))

        assert sorted(each.revision for each in written) == list(range(1, 25))
        assert len({each.sequence for each in written}) == 24
