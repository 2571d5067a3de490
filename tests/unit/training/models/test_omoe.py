"""OMoE: one gate for all."""

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


def test_every_tower_reads_the_one_mixture_of_the_papers_formula():
    model, inputs = scattered(make("omoe", num_experts=3)), some_inputs()
    x = joined(model.features, inputs)
    weight, bias = affine(model.gate)

    got = model(inputs)

    mixed = mixture(torch.softmax(x @ weight.T + bias, dim=1), first_level_experts(model.experts, x))
    for task, raw in got.items():
        torch.testing.assert_close(raw, model.towers[task](mixed))


def test_it_is_mmoe_whose_gates_are_all_the_same():
    omoe, mmoe, inputs = scattered(make("omoe", num_experts=3)), make("mmoe", num_experts=3).eval(), some_inputs()
    state = omoe.state_dict()
    for name in ("gate.request.weight", "gate.request.bias", "gate.candidate.weight"):
        state[name] = torch.cat([state[name]] * len(TASKS))
    mmoe.load_state_dict(state)

    one, many = omoe(inputs), mmoe(inputs)

    for task in omoe.tasks:
        torch.testing.assert_close(one[task], many[task])


def test_parameters_are_experts_one_gate_and_towers():
    model = make("omoe", num_experts=3)

    assert dense_parameters(model) == 3 * expert_parameters(WIDTH) + 3 * (WIDTH + 1) + tower_parameters(model)


def test_the_gate_is_shared_and_the_towers_are_not():
    model = make("omoe")

    shared = {id(parameter) for parameter in model.shared_parameters()}

    assert {id(p) for p in (*model.gate.parameters(), *model.experts.parameters())} == shared
