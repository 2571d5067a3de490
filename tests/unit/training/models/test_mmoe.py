"""MMoE: one linear gate a task over shared experts, and the bugs of others that it does not have."""

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


def test_each_tower_reads_the_mixture_of_its_own_gate():
    model, inputs = scattered(make("mmoe", num_experts=3, hidden=(6, 4, 5))), some_inputs()
    x = joined(model.features, inputs)
    weight, bias = affine(model.gate)
    experts = first_level_experts(model.experts, x)

    got = model(inputs)

    for task, rows, shift in zip(model.tasks, weight.split(3), bias.split(3), strict=True):
        mixed = mixture(torch.softmax(x @ rows.T + shift, dim=1), experts)
        torch.testing.assert_close(got[task], model.towers[task](mixed))


def test_parameters_are_experts_gate_rows_and_towers():
    model = make("mmoe", num_experts=3)
    gates = len(TASKS) * 3 * (WIDTH + 1)

    assert dense_parameters(model) == 3 * expert_parameters(WIDTH) + gates + tower_parameters(model)


def test_gates_are_linear_without_hidden_layer():
    """NVIDIA Merlin's had hidden layers for a year (models#902): logits of a mean are the mean of the logits."""
    model = scattered(make("mmoe", num_experts=3))
    u, c = torch.randn(2, 9), torch.randn(2, 5)
    ends = model.gate_weights(u, c, torch.tensor([0, 1])).log()

    middle = model.gate_weights(u.mean(0, keepdim=True), c.mean(0, keepdim=True), torch.tensor([0])).log()

    against_first = ends - ends[..., :1]
    torch.testing.assert_close((middle - middle[..., :1])[0], against_first.mean(dim=0))


def test_nothing_is_normalised_on_the_way_to_the_weights():
    """torch-rechub's gates are MLPs with a BatchNorm before the softmax."""
    kinds = {type(module) for module in make("mmoe").modules()}

    assert not {kind for kind in kinds if "Norm" in kind.__name__}


def test_by_default_training_and_serving_use_the_same_gates():
    model, inputs = scattered(make("mmoe")), some_inputs()
    served = model.gates(inputs)

    trained = model.train().gates(inputs)

    for task in model.tasks:
        torch.testing.assert_close(trained[task], served[task])


def test_a_task_moves_its_own_gate_and_all_experts():
    model, inputs = scattered(make("mmoe", num_experts=2)), some_inputs(3, 40)

    model(inputs)["like"].square().sum().backward()

    by_task = model.gate.candidate.weight.grad.reshape(3, -1).abs().sum(dim=1)
    assert by_task[0] == by_task[2] == 0
    assert by_task[1] > 0
    assert model.experts.first.candidate.weight.grad.reshape(2, -1).abs().sum(dim=1).min() > 0


def test_gradients_are_balanced_on_the_experts_alone():
    model = make("mmoe")

    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in model.experts.parameters()}


def test_gate_dropout_changes_what_training_sees_and_not_what_is_served():
    plain, dropping, inputs = scattered(make("mmoe")), scattered(make("mmoe", gate_dropout=0.5)), some_inputs(3, 50)

    same, other = dropping(inputs)["click"], dropping.train()(inputs)["click"]

    torch.testing.assert_close(same, plain(inputs)["click"])
    assert not torch.allclose(same, other)
