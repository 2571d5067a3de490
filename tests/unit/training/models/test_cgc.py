"""CGC: own experts beside shared ones; no task touches another's."""

import pytest
import torch

from tests.gated import (
    TASKS,
    WIDTH,
    affine,
    dense_parameters,
    expert_parameters,
    first_level_experts,
    joined,
    make,
    mixture,
    scattered,
    some_inputs,
    tower_parameters,
)

UNEQUAL = {"task_experts": 2, "shared_experts": 3}


def test_each_task_mixes_its_own_and_the_shared_experts():
    model, inputs = scattered(make("cgc", **UNEQUAL)), some_inputs()
    x = joined(model.features, inputs)
    weight, bias = affine(model.first.task_gates)
    own, shared = first_level_experts(model.first.own, x), first_level_experts(model.first.shared, x)

    got = model(inputs)

    for k, (task, rows, shift) in enumerate(zip(model.tasks, weight.split(5), bias.split(5), strict=True)):
        mixed = mixture(torch.softmax(x @ rows.T + shift, dim=1), [*own[2 * k : 2 * k + 2], *shared])
        torch.testing.assert_close(got[task], model.towers[task](mixed))


@pytest.mark.parametrize("options", [UNEQUAL, {"task_experts": 3, "shared_experts": 1}, {}])
def test_parameters_are_experts_gate_rows_and_towers(options):
    model = make("cgc", num_experts=2, **options)
    own, shared = options.get("task_experts", 2), options.get("shared_experts", 2)

    wanted = (len(TASKS) * own + shared) * expert_parameters(WIDTH) + len(TASKS) * (own + shared) * (WIDTH + 1)

    assert dense_parameters(model) == wanted + tower_parameters(model)


def test_experts_of_a_task_get_no_gradient_from_any_other():
    model, inputs = scattered(make("cgc", **UNEQUAL)), some_inputs(3, 40)

    model(inputs)["like"].square().sum().backward()

    first = model.first.own.first.candidate.weight.grad.reshape(3, -1)
    deeper = model.first.own.deeper[0].weight_EIO.grad.reshape(3, -1)
    for by_task in (first, deeper):
        assert torch.count_nonzero(by_task[[0, 2]]) == 0
        assert torch.count_nonzero(by_task[1]) > 0
    assert model.first.shared.deeper[0].weight_EIO.grad.flatten(1).abs().sum(dim=1).min() > 0


def test_experts_of_a_task_do_not_enter_the_score_of_any_other():
    model, inputs = scattered(make("cgc", **UNEQUAL)), some_inputs()
    before = model(inputs)

    with torch.no_grad():
        model.first.own.deeper[0].weight_EIO[2:4] += 1.0

    after = model(inputs)
    assert not torch.equal(after["like"], before["like"])
    assert torch.equal(after["click"], before["click"])
    assert torch.equal(after["share"], before["share"])


def test_every_parameter_learns_from_all_tasks_together():
    model, inputs = scattered(make("cgc")), some_inputs(3, 60)

    sum(raw.square().sum() for raw in model(inputs).values()).backward()

    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_gradients_are_balanced_on_the_shared_experts_alone():
    model = make("cgc")

    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in model.first.shared.parameters()}


def test_experts_are_named_as_the_gate_orders_them():
    names = make("cgc", **UNEQUAL).expert_names

    assert names["like"] == ("task:like:0", "task:like:1", "shared:0", "shared:1", "shared:2")


def test_experts_count_as_many_as_num_experts_where_no_option_says_otherwise():
    names = make("cgc", num_experts=3, task_experts=1).expert_names

    assert names["click"] == ("task:click:0", "shared:0", "shared:1", "shared:2")
