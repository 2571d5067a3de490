"""What every fusion store must do, whatever it is made of."""

from concurrent.futures import ThreadPoolExecutor

from contract.fusion import FusionProfile


def profile(weight: float) -> FusionProfile:
    return FusionProfile(formula="w * ctr", weights={"w": weight})


class FusionStoreSuite:
    """Inherit and give a fixture ``store``."""

    def test_a_new_store_knows_no_profile(self, store):
        assert dict(store.latest()) == {}

    def test_revisions_of_each_profile_grow_from_one(self, store):
        numbers = [store.append(name, profile(1)).revision for name in ("a", "a", "b", "a", "b")]

        assert numbers == [1, 2, 1, 3, 2]

    def test_the_latest_revision_of_each_profile_is_the_last_one_written(self, store):
        store.append("a", profile(1))
        newest_a = store.append("a", profile(2))
        newest_b = store.append("b", profile(3))

        assert dict(store.latest()) == {"a": newest_a, "b": newest_b}
        assert store.latest()["a"].profile == profile(2)

    def test_a_revision_says_when_it_was_written_with_a_time_zone(self, store):
        assert store.append("a", profile(1)).created_at.utcoffset() is not None

    def test_writers_at_the_same_time_lose_nothing_and_number_without_gaps(self, store):
        with ThreadPoolExecutor(8) as threads:
            written = list(threads.map(lambda weight: store.append("a", profile(weight)), range(40)))

        assert sorted(revision.revision for revision in written) == list(range(1, 41))
        assert store.latest()["a"] == max(written, key=lambda revision: revision.revision)
