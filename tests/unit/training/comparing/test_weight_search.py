"""Static weights, searched for on validation."""

import pytest

from tests.comparisons import KINDS, run
from training.comparing.runs import Contender
from training.comparing.weight_search import SEARCH_SEED, search_weights, weight_grid
from training.config import TrainConfig


class Trainer:
    """Answers with an AUC that depends on the weights alone, and remembers what was asked."""

    def __init__(self, auc):
        self.auc, self.jobs = auc, []

    def run(self, jobs):
        self.jobs += jobs
        return [_run(each.name, self.auc(each.config.task_weights)) for each, _ in jobs]


def _run(name, auc):
    return run(name, validation={"ctr": {"auc": auc}, "duration": {"mae_log": 1.0}})


def _search(auc):
    trainer = Trainer(auc)
    contender = Contender(name="mmoe", config=TrainConfig(data="x", arch="mmoe"))
    return search_weights(contender, [_run("single_task", 0.5)], KINDS, trainer), trainer


def test_equal_weights_come_first_and_every_setting_has_a_mean_of_1():
    grid = weight_grid(["a", "b", "c"])

    assert set(grid[0].values()) == {1.0}
    assert len(grid) == 7
    assert all(sum(weights.values()) == pytest.approx(3.0) for weights in grid)
    assert grid[1]["a"] == pytest.approx(3.0 * grid[1]["b"])


def test_two_tasks_have_two_settings_beside_the_equal_one():
    """Three times the one is a third of the other."""
    assert len(weight_grid(["a", "b"])) == 3


def test_the_setting_that_does_best_on_validation_is_found():
    search, trainer = _search(lambda weights: 0.6 + 0.1 * weights["ctr"])

    assert search.found["ctr"] == pytest.approx(1.5)
    assert not search.keeps_equal_weights
    assert {seed for _, seed in trainer.jobs} == {SEARCH_SEED}


def test_equal_weights_stay_where_nothing_does_better():
    search, _ = _search(lambda weights: 0.6)

    assert search.keeps_equal_weights
