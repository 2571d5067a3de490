"""Nothing that happens at or after an impression may show in its features."""

import dataclasses
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from training.data.causal import DecayedCounter, KnownLater, ranks_within
from training.data.ebnerd import featurise, read_impressions

RAW = Path(os.environ.get("FULCRUM_DATA", Path(__file__).parents[5] / "shared" / "data")) / "ebnerd-demo"
needs_data = pytest.mark.skipif(not RAW.is_dir(), reason="the EB-NeRD files are not beside this checkout")


def test_an_event_counts_only_strictly_after_it_became_known():
    pending, seen = KnownLater(), []
    pending.push(10.0, lambda: seen.append("click"))

    pending.advance(10.0)
    assert seen == []
    pending.advance(10.5)
    assert seen == ["click"]


def test_events_are_applied_in_the_order_in_which_they_became_known():
    pending, seen = KnownLater(), []
    for at in (3.0, 1.0, 2.0):
        pending.push(at, lambda at=at: seen.append(at))

    pending.advance(2.5)

    assert seen == [1.0, 2.0]


def test_a_counter_halves_every_half_life():
    counter = DecayedCounter(2, half_life_s=60.0)
    counter.add(np.array([0]), 0.0)
    counter.add(np.array([0]), 60.0)

    assert counter.at(np.array([0, 1]), 120.0) == pytest.approx([0.75, 0.0])


def test_ranks_within_a_list_share_ties():
    assert ranks_within(np.array([5.0, 1.0, 5.0])) == pytest.approx([0.75, 0.0, 0.75])


def _features(impressions, upto):
    rows = []
    for row in featurise(impressions, RAW):
        if row.impression.time > upto:
            break
        rows.append((row.request, {name: values.tolist() for name, values in row.candidates.items()}))
    return rows


def _moments_at_which_two_lists_could_see_each_other(impressions):
    """Times of two lists that share an article or a user: where "before" and "not after" differ."""
    return [
        b.time
        for a, b in pairwise(impressions[800:])
        if a.time == b.time and (a.user == b.user or np.intersect1d(a.articles, b.articles).size)
    ]


def _changed_from(impression, moment, rng):
    """Another outcome wherever it became known at *moment* or later."""
    if impression.time >= moment:
        clicked = (int(rng.choice(impression.articles)),)
        return dataclasses.replace(impression, clicked=clicked, read_s=float(rng.integers(1, 900)), scroll=100.0)
    if impression.time + impression.read_s >= moment:  # still being read
        return dataclasses.replace(impression, read_s=impression.read_s + 500.0)
    return impression


@needs_data
@pytest.mark.data
@pytest.mark.slow
def test_changing_all_that_becomes_known_from_some_moment_on_leaves_every_feature_up_to_it_unchanged():
    impressions = read_impressions(RAW / "train")[:2_500]
    moments = _moments_at_which_two_lists_could_see_each_other(impressions)
    rng = np.random.default_rng(0)

    assert len(moments) >= 3
    for moment in moments[:: max(1, len(moments) // 3)][:3]:
        changed = [_changed_from(each, moment, rng) for each in impressions]
        assert sum(a.time < moment and a is not b for a, b in zip(impressions, changed, strict=True)) > 0
        # repr, because a NaN is not equal to itself
        assert repr(_features(impressions, moment)) == repr(_features(changed, moment))


@needs_data
@pytest.mark.data
@pytest.mark.slow
def test_changing_a_label_does_change_later_features():
    impressions = read_impressions(RAW / "train")[:1_500]
    changed = [dataclasses.replace(impressions[0], clicked=(), read_s=float("nan")), *impressions[1:]]

    assert repr(_features(impressions, float("inf"))) != repr(_features(changed, float("inf")))


@needs_data
@pytest.mark.data
def test_the_rows_own_reading_of_the_listing_page_is_never_read():
    assert not {"read_time", "scroll_percentage"} & set(dataclasses.asdict(read_impressions(RAW / "train")[0]))
