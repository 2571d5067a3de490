"""Joint labels and probabilities of a funnel: right by logic, and stable where networks are very sure."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.tasks import BinaryTask, CountTask, DurationTask
from tests.unit.training.models.funnel_world import CTR, CVR, NAN, PAID, WATCH
from training.errors import DataError
from training.models.entire_space import (
    conditional_logit,
    funnels,
    joint_bce,
    joint_label,
    log_joint,
    log_not_joint,
    with_joint_heads,
)

ANY_LOGIT = st.floats(-1e4, 1e4, width=32)
CHAINS = st.lists(ANY_LOGIT, min_size=1, max_size=4)


def _named(*tasks):
    return {task.name: task for task in tasks}


# --- which tasks form a funnel


def test_a_chain_of_any_depth_is_found_nearest_ancestor_first():
    assert funnels(_named(PAID, CTR, WATCH, CVR)) == {"cvr": ("ctr",), "paid": ("cvr", "ctr")}


def test_without_a_condition_there_is_no_funnel():
    assert funnels(_named(CTR, BinaryTask(name="like"))) == {}


def test_a_chain_whose_beginning_the_model_does_not_predict_is_no_funnel():
    assert funnels(_named(CVR, PAID)) == {}
    assert funnels(_named(CountTask(name="ctr"), CVR)) == {}


def test_a_label_that_is_given_itself_is_refused():
    with pytest.raises(DataError, match="given itself"):
        funnels(_named(BinaryTask(name="a", given="b"), BinaryTask(name="b", given="a")))


def test_joint_heads_have_the_names_that_the_field_knows():
    tasks = with_joint_heads((CTR, CVR, PAID, BinaryTask(name="like", given="ctr"), WATCH))

    assert [getattr(task, "joint", None) for task in tasks] == [None, "ctcvr", "cvr_paid", "ctr_like", None]


def test_joint_heads_are_added_once():
    once = with_joint_heads((CTR, CVR, PAID))

    assert with_joint_heads(once) == once


def test_a_label_with_the_name_of_a_joint_head_is_refused():
    with pytest.raises(DataError, match="ctcvr"):
        with_joint_heads((CTR, CVR, BinaryTask(name="ctcvr")))


# --- joint labels


@pytest.mark.parametrize(
    ("click", "conversion", "joint"),
    [(1, 1, 1), (1, 0, 0), (0, NAN, 0), (0, 0, 0), (0, 1, 0), (1, NAN, NAN), (NAN, NAN, NAN), (NAN, 1, NAN)],
)
def test_joint_labels_know_what_can_be_known(click, conversion, joint):
    labels = {"ctr": torch.tensor([float(click)]), "cvr": torch.tensor([float(conversion)])}

    np.testing.assert_equal(joint_label(("cvr", "ctr"), labels).item(), float(joint))


def test_rows_that_a_later_stage_never_reached_are_zero_in_long_chains_too():
    labels = {
        "ctr": torch.tensor([0.0, 1.0, 1.0, 1.0]),
        "cvr": torch.tensor([NAN, 0.0, 1.0, 1.0]),
        "paid": torch.tensor([NAN, NAN, 0.0, 1.0]),
    }

    assert joint_label(("paid", "cvr", "ctr"), labels).tolist() == [0.0, 0.0, 0.0, 1.0]


# --- numerics


@settings(deadline=None)
@given(CHAINS, st.sampled_from([0.0, 1.0]))
def test_the_joint_loss_and_its_gradients_are_finite_at_any_logit(chain, target):
    logit_KN = torch.tensor(chain, dtype=torch.float32).reshape(-1, 1).requires_grad_()

    loss = joint_bce(logit_KN, torch.tensor([target]))
    loss.sum().backward()

    assert torch.isfinite(loss).all()
    assert loss.item() >= -1e-6
    assert torch.isfinite(logit_KN.grad).all()
    assert (logit_KN.grad.abs() <= 1.0 + 1e-5).all()


@settings(deadline=None)
@given(st.lists(st.floats(-12, 12, width=32), min_size=1, max_size=4))
def test_both_log_probabilities_agree_with_the_plain_product_in_double_precision(chain):
    logit_KN = torch.tensor(chain, dtype=torch.float32).reshape(-1, 1)
    p = math.prod(1 / (1 + math.exp(-z)) for z in chain)

    assert log_joint(logit_KN).item() == pytest.approx(math.log(p), rel=1e-5, abs=1e-6)
    if 1 - p > 1e-9:
        assert log_not_joint(logit_KN).item() == pytest.approx(math.log1p(-p), rel=1e-4, abs=1e-6)


def test_rows_that_are_wrong_and_sure_of_it_still_learn():
    """A clamped product (EasyRec#76 and others) has a gradient of 0 exactly where it is needed most."""
    logit_KN = torch.tensor([[25.0], [25.0]], requires_grad=True)

    loss = joint_bce(logit_KN, torch.zeros(1))
    loss.sum().backward()

    assert loss.item() == pytest.approx(25.0 - math.log(2.0), rel=1e-4)
    torch.testing.assert_close(logit_KN.grad, torch.full((2, 1), 0.5))


@settings(deadline=None)
@given(st.floats(-20, 20, width=32), st.floats(-20, 20, width=32))
def test_the_conditional_probability_is_the_quotient_of_the_joint_ones(joint, parent):
    logit = conditional_logit(torch.tensor([joint]), torch.tensor([parent])).double()
    quotient = (1 + math.exp(-parent)) / (1 + math.exp(-joint))

    assert torch.sigmoid(logit).item() == pytest.approx(min(quotient, 1.0), abs=1.1e-5, rel=2e-5)


@settings(deadline=None)
@given(ANY_LOGIT, ANY_LOGIT)
def test_conditional_logits_are_always_finite(joint, parent):
    assert math.isfinite(conditional_logit(torch.tensor([joint]), torch.tensor([parent])).item())


def test_durations_take_no_part_in_a_funnel():
    assert funnels(_named(CTR, DurationTask(name="watch", given="ctr"))) == {}
