"""Gains: above 0 is better, whichever way a metric points."""

import pytest

from tests.comparisons import KINDS, run
from training.comparing.gains import headlines, is_seesaw, mean_gain, mean_gains_percent, task_gains


def _runs(name, auc, mae_log):
    return [
        run(
            name,
            seed,
            test={"ctr": {"auc": a, "log_loss": 0.3}, "duration": {"mae_log": m, "xauc": 0.6}},
            validation={"ctr": {"auc": a}, "duration": {"mae_log": m}},
        )
        for seed, (a, m) in enumerate(zip(auc, mae_log, strict=True))
    ]


ALONE = _runs("single_task", [0.70, 0.72], [1.0, 1.2])


def test_a_higher_auc_and_a_lower_mae_are_both_gains():
    gains = {gain.task: gain for gain in headlines(task_gains(_runs("mmoe", [0.80, 0.82], [0.9, 0.7]), ALONE, KINDS))}

    assert gains["ctr"].gain.value == pytest.approx(0.10)
    assert gains["ctr"].gain_percent == pytest.approx(100 * 0.10 / 0.71)
    assert gains["duration"].gain.value == pytest.approx(0.3)
    assert gains["duration"].gain_percent == pytest.approx(100 * 0.3 / 1.1)
    assert {gain.gain.verdict for gain in gains.values()} == {"gain"}


def test_a_lower_auc_and_a_higher_mae_are_both_losses():
    gains = headlines(task_gains(_runs("mmoe", [0.60, 0.62], [1.5, 1.7]), ALONE, KINDS))

    assert all(gain.gain.value < 0 and gain.gain.verdict == "loss" for gain in gains)
    assert all(percent < 0 for gain in gains for percent in gain.seeds_percent)


def test_one_gain_and_one_loss_beyond_noise_are_a_seesaw():
    assert is_seesaw(task_gains(_runs("mmoe", [0.80, 0.82], [1.5, 1.7]), ALONE, KINDS))


def test_a_loss_within_one_standard_error_makes_no_seesaw():
    gains = task_gains(_runs("mmoe", [0.80, 0.82], [1.05, 1.25]), ALONE, KINDS)

    assert [gain.gain.verdict for gain in headlines(gains)] == ["gain", "no difference"]
    assert not is_seesaw(gains)


def test_a_seesaw_of_the_metrics_of_one_task_is_none():
    """XAUC may rise where the error does too; what decides is the headline of each task."""
    alone = [run("single_task", seed, test={"duration": {"mae_log": 1.0 + seed / 100, "xauc": 0.6}}) for seed in (0, 1)]
    ours = [run("mmoe", seed, test={"duration": {"mae_log": 2.0 + seed / 100, "xauc": 0.9}}) for seed in (0, 1)]

    gains = task_gains(ours, alone, {"duration": "duration"})

    assert {gain.gain.verdict for gain in gains} == {"gain", "loss"}
    assert not is_seesaw(gains)


def test_the_mean_gain_is_the_mean_of_relative_gains_by_seed():
    found = mean_gains_percent(_runs("mmoe", [0.71, 0.852], [1.1, 0.99]), ALONE, KINDS, split="validation")

    assert found == pytest.approx((0.0, (20.0 + 10.0) / 2))


def test_the_mean_gain_carries_the_noise_of_both_sides():
    """The reference against itself: no gain, and an error of sqrt(2) times its own."""
    found = mean_gain(ALONE, ALONE, KINDS)

    assert found.gain.value == pytest.approx(0.0)
    assert found.gain.standard_error == pytest.approx(2**0.5 * found.percent.standard_error)
    assert found.gain.verdict == "no difference"


def test_a_contender_that_lacks_a_task_has_no_mean_over_all():
    """A model that drops a head would otherwise be compared by the tasks it kept."""
    ours = [run("sample_weighting", seed, test={"ctr": {"auc": 0.9}}) for seed in range(2)]

    assert mean_gain(ours, ALONE, KINDS) is None
    assert [gain.task for gain in task_gains(ours, ALONE, KINDS)] == ["ctr"]


def test_a_metric_without_a_value_in_one_seed_is_not_averaged_over_the_others():
    ours = [run("mmoe", 0, test={"ctr": {"auc": 0.9}}), run("mmoe", 1, test={"ctr": {"auc": None}})]

    assert task_gains(ours, ALONE, KINDS) == ()
