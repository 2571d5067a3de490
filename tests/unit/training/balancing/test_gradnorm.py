"""GradNorm, and what torch-rechub's gets wrong."""

import numpy as np
import pytest
import torch
from torch import nn

from contract.features import Categorical, FeatureSchema, LogStandard, Numeric
from contract.tasks import BinaryTask, DurationTask
from tests.unit.training.balancing.toys import Toy
from training.balancing.gradnorm import last_shared_layer
from training.export import random_inputs
from training.inputs import as_tensors
from training.losses import mean_loss
from training.models.base import ModelConfig
from training.models.registry import build_model

TASKS = (BinaryTask(name="ctr"), DurationTask(name="duration"))


def _model(arch):
    schema = FeatureSchema(
        fields=(
            Numeric(name="hour", side="request", scaling=LogStandard(mean=0, std=1)),
            Categorical(name="item", side="candidate", dtype="int", table="item"),
        ),
        vocabularies={"item": (1, 2, 3)},
    )
    torch.manual_seed(0)
    model = build_model(
        arch, schema, TASKS, ModelConfig(embedding_dim=4, hidden=(8, 6), tower_hidden=(3,), dropout=0.0)
    )
    inputs = as_tensors(random_inputs(schema, 3, 24, np.random.default_rng(0)))
    labels = {"ctr": (torch.arange(24) % 2).float(), "duration": torch.arange(24).float()}
    rows = model.row_losses(model(inputs), labels, inputs)
    return model, torch.stack([mean_loss(each) for each in rows.values()])


def test_the_last_shared_layer_of_a_shared_bottom_is_the_last_before_the_towers():
    """torch-rechub walks ``share_layers[-i]`` from i = 0, which is the first parameter: an embedding table."""
    model, losses = _model("shared_bottom")

    layer = last_shared_layer(losses, model.shared_parameters())

    linear = [module for module in model.rest.modules() if isinstance(module, nn.Linear)][-1]
    assert layer is linear.weight
    assert layer is not model.shared_parameters()[0]


def test_the_last_shared_layer_of_mmoe_is_the_experts_and_not_the_gates():
    """The gates of all tasks stand in one tensor, but each row of it belongs to one task."""
    model, losses = _model("mmoe")

    assert last_shared_layer(losses, model.shared_parameters()) is model.experts.deeper[-1].weight_EIO


def test_where_no_layer_serves_all_tasks_the_last_that_serves_most_is_taken():
    """ESMM's conversion loss reads the click's network too, a third task has its own: nothing is shared by three."""
    early, late, own = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    losses = torch.stack([early.sum() + late.sum(), early.sum() + late.sum(), own.sum()])

    assert last_shared_layer(losses, [early, late, own]) is late


def test_a_model_that_shares_nothing_has_no_last_shared_layer():
    model, losses = _model("single_task")

    assert last_shared_layer(losses, model.shared_parameters()) is None


def _norms(toy, layer):
    norms = [torch.autograd.grad(loss, layer, retain_graph=True)[0].norm() for loss in toy.losses()]
    return torch.stack(norms)


def test_one_step_moves_each_factor_against_the_sign_of_its_excess_worked_by_hand():
    toy = Toy()
    balancer = toy.balancer("gradnorm", options={"alpha": 1.5, "learning_rate": 0.01})
    first = toy.losses().detach()
    toy.step(balancer)
    factors, losses, norms = balancer.factors_T.detach().clone(), toy.losses().detach(), _norms(toy, balancer.layer)

    toy.gradients(balancer)

    ratios = losses / first
    targets = (factors * norms).mean() * (ratios / ratios.mean()) ** 1.5
    slope = torch.sign(factors * norms - targets) * norms
    torch.testing.assert_close(balancer.factors_T.grad, slope)
    assert balancer.factors_T.sum().item() == pytest.approx(3.0)


def test_with_an_alpha_of_zero_all_tasks_come_to_pull_alike():
    toy = Toy(scales=(1.0, 4.0, 0.5))
    balancer = toy.balancer("gradnorm", options={"alpha": 0.0, "learning_rate": 0.01})

    for _ in range(400):
        toy.gradients(balancer)

    pulls = balancer.factors_T.detach() * _norms(toy, balancer.layer)
    torch.testing.assert_close(pulls, pulls.mean().expand(3), rtol=0.1, atol=0)


def test_a_task_that_learns_slowly_is_pulled_up():
    """torch-rechub gives every task the same target, the mean of the ratios, so that progress has no effect."""
    toy = Toy(scales=(1.0, 1.0))
    ends = {}
    for alpha in (0.0, 1.5):
        balancer = toy.balancer("gradnorm", options={"alpha": alpha})
        toy.gradients(balancer)
        balancer._first_T = toy.losses().detach() * torch.tensor([10.0, 1.0])  # a has fallen to a tenth, b not at all
        for _ in range(200):
            toy.gradients(balancer)
        ends[alpha] = balancer.factors_T.detach().clone()

    assert ends[1.5][1] > ends[0.0][1] + 0.1


def test_factors_stay_positive():
    toy = Toy(scales=(1.0, 1e6))
    balancer = toy.balancer("gradnorm", options={"learning_rate": 0.5})

    for _ in range(30):
        toy.gradients(balancer)

    assert balancer.factors_T.min() > 0
