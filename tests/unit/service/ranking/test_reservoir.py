import gc
import pickle
import random
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from contract.features import Hashed
from service.ports import Assignment
from service.ranking.query import RankQuery
from service.ranking.reservoir import Reservoir
from tests.factories import tiny_manifest
from tests.fakes import PATIENCE_S, FakeModel, ManualClock

HEADS = ("ctr", "duration_seconds", "log_duration")


def reservoir_of(max_requests=10, max_rows=10_000, *, clock=None, seed=0, decay_s=600.0):
    return Reservoir(
        max_requests=max_requests,
        max_rows=max_rows,
        clock=clock or ManualClock(),
        source=random.Random(seed),
        decay_s=decay_s,
    )


def offer(reservoir, size=2, *, model=None, profile="default", request=None, item_ids=None):
    item_ids = item_ids or [f"item-{number}" for number in range(size)]
    query = RankQuery(item_ids=item_ids, request=request or {}, candidates={})
    heads = {name: np.full(len(item_ids), 0.5, dtype=np.float32) for name in HEADS}
    by = Assignment(model=None, profile=profile, weights={})
    reservoir.offer(model=model or FakeModel(), request=query, by=by, heads=heads, stored={})


MODEL = FakeModel()


@hypothesis_settings(max_examples=50)
@given(st.lists(st.integers(1, 60), max_size=120), st.integers(1, 12), st.integers(1, 150))
def test_neither_bound_is_ever_passed_whatever_the_sizes(sizes, max_requests, max_rows):
    clock = ManualClock()
    reservoir = reservoir_of(max_requests, max_rows, clock=clock)

    for size in sizes:
        offer(reservoir, size, model=MODEL)
        reservoir.settle()
        clock.advance(1.0)
        kept = reservoir.snapshot().requests

        assert len(kept) == reservoir.num_requests <= max_requests
        assert sum(request.size for request in kept) == reservoir.num_rows <= max_rows


def test_memory_is_what_the_bound_on_rows_says():
    reservoir = reservoir_of(50, 2_000)
    for size in np.random.default_rng(0).integers(1, 300, 400).tolist():
        offer(reservoir, size, model=MODEL)
        reservoir.settle()

    held = sum(len(request.packed) for request in reservoir.snapshot().requests)

    # Three heads of 4 bytes, one number of 8 and an id of 8 for each candidate; one number for each request.
    assert held <= 2_000 * (3 * 4 + 8 + 8) + 50 * 8


def test_what_waits_to_be_copied_is_bounded_too():
    reservoir = reservoir_of(100_000, 10_000_000)

    for _ in range(1_000):
        offer(reservoir, 10, model=MODEL)
    waiting = len(reservoir._waiting)
    reservoir.settle()
    for _ in range(1_000):
        offer(reservoir, 5_000, model=MODEL)

    assert waiting == 64
    assert sum(len(taken.request.item_ids) for taken in reservoir._waiting) <= 20_000


def test_a_request_larger_than_the_whole_reservoir_is_left_out_and_pushes_nothing_out():
    reservoir = reservoir_of(10, 100)
    offer(reservoir, 50)
    reservoir.settle()

    offer(reservoir, 101)
    reservoir.settle()

    assert [request.size for request in reservoir.snapshot().requests] == [50]


@pytest.mark.parametrize(("max_requests", "max_rows"), [(0, 100), (100, 0)])
def test_a_bound_of_zero_keeps_nothing(max_requests, max_rows):
    reservoir = reservoir_of(max_requests, max_rows)

    with reservoir:
        offer(reservoir)
    reservoir.settle()

    assert reservoir.snapshot().requests == ()
    assert not reservoir.snapshot().is_on


def test_all_is_kept_while_there_is_room():
    reservoir = reservoir_of(10)

    for _ in range(10):
        offer(reservoir)
    reservoir.settle()

    assert reservoir.num_requests == 10


def test_requests_of_one_moment_are_equally_likely_wherever_they_stand_in_the_stream():
    kept = np.zeros(40)
    for seed in range(400):
        reservoir = reservoir_of(10, seed=seed)
        for number in range(40):
            offer(reservoir, model=MODEL, profile=str(number))
            reservoir.settle()
        for request in reservoir.snapshot().requests:
            kept[int(request.profile)] += 1

    # Each stays with probability 1/4: 100 of 400, with a standard deviation of 8.7.
    assert kept.sum() == 4_000
    assert np.abs(kept - 100).max() < 4 * 8.7


def test_a_request_that_is_older_by_the_decay_is_e_times_less_likely_to_be_there():
    ages = []
    for seed in range(60):
        clock = ManualClock()
        reservoir = reservoir_of(20, clock=clock, seed=seed, decay_s=100.0)
        for _ in range(2_000):
            offer(reservoir, 1, model=MODEL)
            reservoir.settle()
            clock.advance(0.5)
        ages += [clock.now - request.taken_at for request in reservoir.snapshot().requests]

    # Of an exponential distribution with mean 100; 1,200 ages know their mean to about 3.
    assert np.mean(ages) == pytest.approx(100, abs=12)
    assert np.mean(np.array(ages) > 100) == pytest.approx(np.exp(-1), abs=0.05)


def test_a_burst_does_not_push_the_quiet_hour_before_it_out():
    clock = ManualClock()
    reservoir = reservoir_of(200, clock=clock)
    for _ in range(200):
        offer(reservoir, 1, model=MODEL, profile="quiet")
        clock.advance(1.0)
        reservoir.settle()
    for _ in range(200):
        offer(reservoir, 1, model=MODEL, profile="burst")
        reservoir.settle()

    profiles = [request.profile for request in reservoir.snapshot().requests]

    assert 60 <= profiles.count("quiet") <= 110  # a little under half, for its age


def test_large_requests_are_kept_as_often_as_small_ones():
    small = large = 0
    for seed in range(100):
        reservoir = reservoir_of(1_000, 1_000, seed=seed)
        for number in range(200):
            offer(reservoir, 40 if number % 2 else 10, model=MODEL)
            reservoir.settle()
        sizes = [request.size for request in reservoir.snapshot().requests]
        small, large = small + sizes.count(10), large + sizes.count(40)

    assert large / small == pytest.approx(1.0, abs=0.1)


def test_a_snapshot_stays_as_it_was():
    reservoir = reservoir_of(2)
    offer(reservoir, profile="old")
    reservoir.settle()
    snapshot = reservoir.snapshot()

    for _ in range(50):
        offer(reservoir, profile="new")
    reservoir.settle()

    assert [request.profile for request in snapshot.requests] == ["old"]


def test_the_thread_copies_what_is_chosen_and_ends_with_the_reservoir():
    with reservoir_of(10) as reservoir:
        offer(reservoir)
        _until(lambda: reservoir.num_requests == 1)
        thread = reservoir._thread

    assert not thread.is_alive()


def test_offers_and_snapshots_from_many_threads_keep_the_bounds():
    reservoir = reservoir_of(30, 300)
    sizes = random.Random(1).choices(range(1, 40), k=200)

    def fire():
        for size in sizes:
            offer(reservoir, size, model=MODEL)
            reservoir.snapshot()

    with reservoir:
        threads = [threading.Thread(target=fire) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        _until(lambda: not reservoir._waiting)

    kept = reservoir.snapshot().requests
    assert 0 < len(kept) <= 30
    assert sum(request.size for request in kept) == reservoir.num_rows <= 300


def test_a_request_that_cannot_be_copied_harms_neither_its_caller_nor_the_next():
    reservoir = reservoir_of(10)
    broken = FakeModel()
    broken.manifest = None

    offer(reservoir, model=broken)
    offer(reservoir)
    reservoir.settle()

    assert reservoir.num_requests == 1


def test_no_id_can_be_found_in_what_is_kept():
    schema = tiny_manifest().features
    user = Hashed(name="user", side="request", dtype="string", table="user", buckets=100)
    manifest = tiny_manifest().model_copy(
        update={"features": schema.model_copy(update={"fields": (user, *schema.fields)})}
    )
    reservoir = reservoir_of(10)
    model = FakeModel(manifest=manifest)

    offer(reservoir, model=model, request={"user": "ann-1984"}, item_ids=["secret-item-1", "secret-item-2"])
    reservoir.settle()
    written = pickle.dumps(reservoir.snapshot())

    assert reservoir.num_requests == 1
    for clear in (b"ann-1984", b"secret-item"):
        assert clear not in written
    assert "default" in _reachable_strings(reservoir), "the search has to find what is there"
    assert not _reachable_strings(reservoir) & {"ann-1984", "secret-item-1", "secret-item-2"}


def test_versions_that_no_kept_request_has_are_forgotten():
    clock = ManualClock()
    reservoir = reservoir_of(1, clock=clock)

    for version in range(1, 6):
        offer(reservoir, model=FakeModel(version=version))
        reservoir.settle()
        clock.advance(100_000.0)

    assert [request.model.version for request in reservoir.snapshot().requests] == [5]
    assert len(reservoir._models) <= 2


def test_nothing_is_copied_for_a_request_that_is_passed_over():
    clock = ManualClock()
    reservoir = reservoir_of(1, clock=clock)
    clock.advance(1e9)
    offer(reservoir, profile="late")
    offer(reservoir, profile="late")
    reservoir.settle()
    clock.now = 0.0  # so long ago that no luck helps

    for _ in range(100):
        offer(reservoir, profile="early")

    assert len(reservoir._waiting) == 0


def _until(condition):
    deadline = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if condition():
            return
        deadline.wait(0.005)
    raise AssertionError("it did not happen")


def _reachable_strings(root):
    """Every string that can be reached from an object, save from classes, modules and functions."""
    found, seen, waiting = set(), set(), [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type | type(gc)) or callable(each):
            continue
        seen.add(id(each))
        if isinstance(each, str):
            found.add(each)
        waiting.extend(gc.get_referents(each))
    return found
