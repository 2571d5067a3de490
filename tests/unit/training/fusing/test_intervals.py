"""Intervals hold what they promise, and pairing narrows them."""

import numpy as np

from training.fusing.intervals import paired_bootstrap


def test_nineteen_of_twenty_intervals_hold_the_true_mean():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        own, _ = paired_bootstrap(rng.exponential(2.0, size=(1, 150)), 0, seed=trial, draws=400)
        held += own[0].low <= 2.0 <= own[0].high

    assert 0.89 <= held / 200 <= 0.99


def test_a_difference_that_every_request_has_is_known_exactly():
    hard = np.random.default_rng(1).random(500)

    own, apart = paired_bootstrap(np.stack([hard, hard + 0.01]), 0, seed=0)

    assert np.isclose([apart[1].low, apart[1].high], 0.01).all()
    assert apart[1].excludes_zero
    assert own[1].high - own[1].low > 0.03
    assert (apart[0].value, apart[0].low, apart[0].high) == (0, 0, 0)


def test_no_difference_is_not_told_apart():
    values = np.random.default_rng(2).random((2, 400))

    assert not paired_bootstrap(values, 0, seed=0)[1][1].excludes_zero


def test_a_request_that_says_nothing_is_left_out_for_all():
    own, _ = paired_bootstrap(np.array([[1.0, np.nan, 3.0], [0.0, 9.0, 2.0]]), 0, seed=0)

    assert [interval.value for interval in own] == [2.0, 1.0]


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).random((3, 50))

    assert paired_bootstrap(values, 1, seed=5) == paired_bootstrap(values, 1, seed=5)
