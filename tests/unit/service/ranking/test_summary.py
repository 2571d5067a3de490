import numpy as np
import pytest

from service.ranking.measures import measure
from service.ranking.summary import by_segment, counted, head_change, summarise
from tests.kept import block_of, kept_request


def swapped(*ctrs):
    """Measure requests of two candidates that change places, a top k of one."""
    block = block_of(*(kept_request([ctr, 2 * ctr]) for ctr in ctrs))
    before = np.array([2.0, 1.0] * len(ctrs))
    return measure(block, before, -before, top_k=1)


def test_everything_by_hand():
    found = summarise(swapped(0.1, 0.3), top_k=1)

    assert (found.requests, found.candidates, found.unaffected) == (2, 4, 0)
    assert (found.top_k_overlap, found.first_changed, found.kendall_tau) == (0.0, 1.0, -1.0)
    ctr = found.heads[0]
    assert (ctr.name, ctr.unit, ctr.requests) == ("ctr", "probability", 2)
    assert (ctr.before, ctr.after, ctr.change, ctr.percent) == pytest.approx((0.2, 0.4, 0.2, 100.0))
    assert found.score_range == ((1.0, 2.0), (-2.0, -1.0))
    assert (found.non_finite, found.hit_requests) == ((0, 0), (0, 0))


def test_the_interval_of_a_change_by_hand():
    # Means 2 and 3, ratio 1.5; after - 1.5 * before = (-0.5, 0.5), its standard deviation sqrt(0.5).
    found = head_change("ctr", "probability", np.array([1.0, 3.0]), np.array([1.0, 5.0]))

    half = 1.959964 * 100 * np.sqrt(0.5) / (2 * np.sqrt(2))
    assert found.percent == pytest.approx(50.0)
    assert (found.percent_low, found.percent_high) == pytest.approx((50.0 - half, 50.0 + half))


def test_a_change_that_is_the_same_share_in_every_request_has_no_width():
    before = np.array([1.0, 10.0, 100.0])

    found = head_change("ctr", "probability", before, 1.012 * before)

    assert (found.percent, found.percent_low, found.percent_high) == pytest.approx((1.2, 1.2, 1.2))


def test_the_interval_holds_the_truth_about_95_times_of_100():
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(1_000):
        before = random.gamma(2.0, 1.0, 200)
        after = before * random.gamma(20.0, 1.03 / 20.0, 200)
        found = head_change("x", "value", before, after)
        covered += found.percent_low <= 3.0 <= found.percent_high

    assert 925 <= covered <= 975


def test_where_the_mean_before_is_negative_more_is_still_up():
    found = head_change("log_duration", "log_seconds", np.array([-2.0, -2.0]), np.array([-1.0, -1.0]))

    assert (found.change, found.percent) == pytest.approx((1.0, 50.0))


def test_percent_of_nothing_is_not_defined():
    found = head_change("ctr", "probability", np.array([0.0, 0.0]), np.array([0.5, 0.5]))

    assert (found.change, found.percent, found.percent_low) == (0.5, None, None)


def test_one_request_has_a_change_and_no_interval():
    found = head_change("ctr", "probability", np.array([0.5]), np.array([0.6]))

    assert found.percent == pytest.approx(20.0)
    assert (found.percent_low, found.percent_high) == (None, None)


def test_a_head_that_no_request_has_on_both_sides_is_left_out():
    assert head_change("ctr", "probability", np.array([np.nan, 1.0]), np.array([1.0, np.nan])) is None


def test_segments_come_by_size_and_the_small_ones_together():
    values = [f"v{number:02}" for number in range(25) for _ in range(30 - number)]
    measures = swapped(*([0.1] * len(values)))

    found = by_segment(measures, values, top_k=1)

    assert [each.value for each in found] == [f"v{number:02}" for number in range(20)] + [None]
    assert [each.change.requests for each in found[:3]] == [30, 29, 28]
    assert (found[-1].values, found[-1].change.requests) == (5, 10 + 9 + 8 + 7 + 6)
    assert sum(each.change.requests for each in found) == len(values)


def test_a_segment_holds_its_own_requests_alone():
    a, b = by_segment(swapped(0.1, 0.3, 0.3), ["b", "a", "a"], top_k=1)

    assert (a.value, a.change.heads[0].before) == ("a", pytest.approx(0.3))
    assert (b.value, b.change.heads[0].before) == ("b", pytest.approx(0.1))


def test_the_twenty_ids_that_occur_most_are_given():
    items = np.repeat(np.arange(30, dtype=np.uint64), np.arange(30))

    found = counted(items)

    assert [(each.item, each.requests) for each in found[:2]] == [(f"{29:016x}", 29), (f"{28:016x}", 28)]
    assert len(found) == 20
    assert counted(np.array([], dtype=np.uint64)) == ()
