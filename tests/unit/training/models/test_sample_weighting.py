"""Sample weighting: one head, rows that weigh what their other labels are worth, a score that is calibrated."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from contract.tasks import BinaryTask, CountTask, DurationTask, RegressionTask
from tests.unit.training.models import funnel_world as world
from tests.unit.training.models.funnel_world import CTR, CVR, NAN, WATCH
from training.errors import InvalidOption

TASKS = (CTR, CVR, WATCH)
RAW = {"ctr": [0.3, -1.0, 2.0, 0.5]}


def _weights(tasks=TASKS, labels=None, **options):
    return world.model("sample_weighting", tasks, **options).weights(labels or world.labels())


def _shape(weights):
    """Weights up to their scale: relative to the first row, which nobody clicked."""
    return (weights / weights[0]).tolist()


def test_only_the_main_task_is_served():
    model = world.model("sample_weighting", TASKS)

    assert model.tasks == ("ctr",)
    assert list(model(world.rows())) == ["ctr"]
    assert not model.is_calibrated


def test_the_main_task_is_the_first_binary_one_that_every_row_has():
    assert world.model("sample_weighting", (WATCH, CVR, CTR, BinaryTask(name="seen"))).tasks == ("ctr",)


def test_the_main_task_can_be_chosen():
    model = world.model("sample_weighting", TASKS, main="cvr")

    assert model.tasks == ("cvr",)
    assert sorted(model.signals) == ["ctr", "watch"]


def test_a_model_without_a_binary_task_that_fits_is_refused():
    with pytest.raises(InvalidOption, match="ctr, cvr"):
        world.model("sample_weighting", TASKS, main="watch")
    with pytest.raises(InvalidOption, match="every row"):
        world.model("sample_weighting", (CVR, WATCH))


def test_a_positive_weighs_one_plus_what_its_other_labels_are_worth():
    by_hand = [1.0, 1 + 0 + math.log1p(3), 1 + 1 + math.log1p(40), 1 + 1 + math.log1p(7)]

    assert _shape(_weights()) == pytest.approx(by_hand)


def test_factors_scale_each_label():
    by_hand = [1.0, 1 + 0.5 * math.log1p(3), 1 + 3 + 0.5 * math.log1p(40), 1 + 3 + 0.5 * math.log1p(7)]

    assert _shape(_weights(factors={"cvr": 3.0, "watch": 0.5})) == pytest.approx(by_hand)


def test_weights_have_a_mean_of_one():
    assert _weights().mean().item() == pytest.approx(1.0)
    assert _weights(factors={"watch": 100.0}, cap=None).mean().item() == pytest.approx(1.0)


def test_a_weight_is_capped():
    by_hand = [1.0, min(1 + math.log1p(3), 2.5), 2.5, 2.5]

    assert _shape(_weights(cap=2.5)) == pytest.approx(by_hand)


def test_labels_that_are_not_known_are_worth_nothing():
    labels = world.labels(cvr=[NAN] * 4, watch=[NAN, NAN, 40.0, NAN])

    assert _shape(_weights(labels=labels)) == pytest.approx([1.0, 1.0, 1 + math.log1p(40), 1.0])


def test_negatives_weigh_one_unless_all_rows_are_weighted():
    tasks, labels = (CTR, BinaryTask(name="seen")), {**world.labels(), "seen": torch.tensor([1.0, 1.0, 0.0, 0.0])}

    assert _shape(_weights(tasks, labels)) == pytest.approx([1, 2, 1, 1])
    assert _weights(tasks, labels, positives_only=False).tolist() == pytest.approx([4 / 3, 4 / 3, 2 / 3, 2 / 3])


def test_counts_are_worth_their_logarithm_and_values_what_is_above_zero():
    tasks = (CTR, CountTask(name="views"), RegressionTask(name="margin"))
    labels = {**world.labels(), "views": torch.tensor([0.0, 9, 0, 0]), "margin": torch.tensor([0.0, 0, 2.5, -1.0])}

    assert _shape(_weights(tasks, labels)) == pytest.approx([1.0, 1 + math.log(10), 3.5, 1.0])


def test_the_loss_is_the_weighted_cross_entropy_of_the_main_label():
    model = world.model("sample_weighting", TASKS)
    raw = world.logits(**RAW)

    got = world.losses(model, raw, world.labels())

    bce = F.binary_cross_entropy_with_logits(raw["ctr"][:, 0], torch.tensor([0.0, 1, 1, 1]), reduction="none")
    assert list(got) == ["ctr"]
    torch.testing.assert_close(got["ctr"], (_weights() * bce).sum() / 4)


def test_rows_without_the_main_label_neither_count_nor_shift_the_mean():
    model = world.model("sample_weighting", TASKS, main="cvr")
    raw = world.logits(cvr=[9.0, 0.2, -0.7, 0.1])

    world.losses(model, raw, world.labels())["cvr"].backward()

    assert raw["cvr"].grad[0] == 0.0
    assert model.weights(world.labels())[1:].mean().item() == pytest.approx(1.0)


def test_weighted_logistic_regression_is_a_special_case():
    """Covington et al., RecSys 2016: clicks weigh their watch time, all other rows 1; odds then are seconds."""
    options = {"base": 0.0, "seconds": "raw", "cap": None}
    assert _shape(_weights((CTR, WATCH), **options)) == pytest.approx([1.0, 3.0, 40.0, 7.0])

    z = torch.zeros(1, requires_grad=True)
    model = world.model("sample_weighting", (CTR, WATCH), **options)
    optimiser = torch.optim.LBFGS([z], max_iter=50)

    def step():
        optimiser.zero_grad()
        loss = world.losses(model, {"ctr": z.expand(4).reshape(4, 1)}, world.labels())["ctr"]
        loss.backward()
        return loss

    optimiser.step(step)

    assert z.exp().item() == pytest.approx((3 + 40 + 7) / 1, rel=1e-3)  # watched seconds over rows not clicked


def test_without_other_labels_it_is_plain_cross_entropy():
    raw = world.logits(**RAW)

    got = world.losses(world.model("sample_weighting", (CTR,)), raw, world.labels())["ctr"]

    torch.testing.assert_close(
        got, F.binary_cross_entropy_with_logits(raw["ctr"][:, 0], torch.tensor([0.0, 1.0, 1.0, 1.0]))
    )


def test_a_batch_that_weighs_nothing_gives_zero_and_not_nan():
    model = world.model("sample_weighting", (CTR, WATCH), base=0.0)
    labels = world.labels(ctr=[1.0] * 4, watch=[NAN] * 4)

    loss = world.losses(model, world.logits(**RAW), labels)["ctr"]

    assert loss.item() == 0.0


def test_a_factor_of_a_label_that_is_not_there_is_refused_in_training():
    with pytest.raises(InvalidOption, match="likes"):
        _weights(factors={"likes": 1.0})


def test_negative_factors_are_refused():
    with pytest.raises(InvalidOption, match="factors"):
        world.model("sample_weighting", TASKS, factors={"watch": -1.0})


def test_it_is_built_again_from_what_it_serves():
    """As a checkpoint does."""
    model = world.model("sample_weighting", TASKS, factors={"watch": 2.0})
    again = world.model("sample_weighting", list(model.task_specs.values()), factors={"watch": 2.0})
    again.load_state_dict(model.state_dict())

    torch.testing.assert_close(again(world.rows())["ctr"], model(world.rows())["ctr"])


def test_it_is_a_shared_bottom_of_one_task():
    ours, plain = world.model("sample_weighting", TASKS), world.model("shared_bottom", (CTR,))

    assert world.parameter_count(ours) == world.parameter_count(plain)
    np.testing.assert_allclose(ours(world.rows())["ctr"].detach(), plain(world.rows())["ctr"].detach())


def test_durations_count_by_their_logarithm_by_default():
    tasks = (CTR, DurationTask(name="watch"))

    assert _shape(_weights(tasks)) == pytest.approx([1.0, *(1 + math.log1p(s) for s in (3, 40, 7))])
