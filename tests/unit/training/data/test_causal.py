"""Nothing that happens at or after an impression may show in its features."""

import dataclasses
import os
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


@needs_data
@pytest.mark.data
@pytest.mark.slow
def test_changing_every_label_from_some_moment_on_leaves_all_features_up_to_it_unchanged():
    impressions = read_impressions(RAW / "train")[:2_500]
    moment = impressions[1_500].time
    rng = np.random.default_rng(0)
    changed = [
        dataclasses.replace(
            each, clicked=(int(rng.choice(each.articles)),), read_s=float(rng.integers(1, 900)), scroll=100.0
        )
        if each.time >= moment
        else each
        for each in impressions
    ]

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
