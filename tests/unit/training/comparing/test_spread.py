"""Within one standard error is no difference."""

import math

import pytest

from training.comparing.spread import Spread, difference


def test_a_spread_has_the_sample_standard_deviation_and_its_standard_error():
    spread = Spread.of([1.0, 2.0, 3.0, 6.0])

    assert (spread.mean, spread.seeds) == (3.0, 4)
    assert spread.std == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert spread.standard_error == pytest.approx(spread.std / 2)


@pytest.mark.parametrize(("higher_is_better", "verdict"), [(True, "gain"), (False, "loss")])
def test_more_is_a_gain_or_a_loss_as_the_metric_points(higher_is_better, verdict):
    ours, theirs = Spread(mean=2.0, std=0.1, seeds=4), Spread(mean=1.0, std=0.1, seeds=4)

    found = difference(ours, theirs, higher_is_better=higher_is_better)

    assert found.verdict == verdict
    assert found.value == pytest.approx(1.0 if higher_is_better else -1.0)


@pytest.mark.parametrize(("ahead", "verdict"), [(0.49, "no difference"), (0.51, "gain"), (-0.51, "loss")])
def test_both_sides_noise_counts(ahead, verdict):
    """Errors of 0.3 and 0.4 make one of 0.5."""
    ours, theirs = Spread(mean=ahead, std=0.6, seeds=4), Spread(mean=0.0, std=0.8, seeds=4)

    found = difference(ours, theirs, higher_is_better=True)

    assert found.standard_error == pytest.approx(0.5)
    assert found.verdict == verdict


def test_a_single_seed_tells_no_difference_however_large():
    found = difference(Spread.of([5.0]), Spread.of([1.0, 1.1]), higher_is_better=True)

    assert found.verdict == "no difference"
    assert found.standard_error is None


def test_equal_numbers_without_noise_are_no_difference():
    same = Spread(mean=1.0, std=0.0, seeds=2)

    assert difference(same, same, higher_is_better=True).verdict == "no difference"
