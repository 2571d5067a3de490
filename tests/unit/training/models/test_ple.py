"""PLE: levels of CGC with gates that see the whole level, and the three ways in which others get it wrong."""

import pytest
import torch

from tests.gated import (
    TASKS,
    WIDTH,
    affine,
    both_sides,
    dense_parameters,
    expert_parameters,
    first_level_experts,
    grouped_experts,
    joined,
    make,
    mixture,
    scattered,
    some_inputs,
    stacked,
    tower_parameters,
)
from training.export import ServingModule, export_graph, input_specs

T, H = len(TASKS), 5
UNEQUAL = {"task_experts": 2, "shared_experts": 3}


def _softmax(x, layer, position=0):
    weight, bias = stacked(layer, position)
    return torch.softmax(x @ weight + bias, dim=1)


def _by_hand(model, inputs):
    """The paper's section 4.2, one expert and one gate at a time."""
    x = joined(model.features, inputs)
    weight, bias = affine(model.first.task_gates)
    gates = [torch.softmax(x @ w.T + b, dim=1) for w, b in zip(weight.split(5), bias.split(5), strict=True)]
    own, shared = first_level_experts(model.first.own, x), first_level_experts(model.first.shared, x)
    tasks = [mixture(gates[k], [*own[2 * k : 2 * k + 2], *shared]) for k in range(T)]
    weight, bias = affine(model.first.shared_gate)
    common = mixture(torch.softmax(x @ weight.T + bias, dim=1), [*own, *shared])
    for level in model.later:
        own, shared = grouped_experts(level.own, tasks), grouped_experts(level.shared, [common])
        if level.shared_gate is not None:
            next_common = mixture(_softmax(common, level.shared_gate), [*own, *shared])
        tasks = [mixture(_softmax(tasks[k], level.task_gates, k), [*own[2 * k : 2 * k + 2], *shared]) for k in range(T)]
        common = next_common if level.shared_gate is not None else None
    return {task: model.towers[task](tasks[k]) for k, task in enumerate(model.tasks)}


@pytest.mark.parametrize("levels", [2, 3])
def test_two_and_three_levels_are_what_the_paper_writes(levels):
    model, inputs = scattered(make("ple", levels=levels, **UNEQUAL)), some_inputs()

    got, wanted = model(inputs), _by_hand(model, inputs)

    for task in model.tasks:
        torch.testing.assert_close(got[task], wanted[task])


def test_one_level_is_cgc_exactly():
    cgc, ple, inputs = scattered(make("cgc", **UNEQUAL)), make("ple", levels=1, **UNEQUAL).eval(), some_inputs()
    ple.load_state_dict(cgc.state_dict())

    one, other = cgc(inputs), ple(inputs)

    assert all(torch.equal(one[task], other[task]) for task in cgc.tasks)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("options", [UNEQUAL, {"task_experts": 3, "shared_experts": 1}])
def test_parameters_follow_the_formula(levels, options):
    """DeepCTR-Torch makes its shared experts in the number of the task experts; unequal numbers show it."""
    model = make("ple", levels=levels, **options)
    own, shared = options["task_experts"], options["shared_experts"]
    experts, rows = T * own + shared, T * (own + shared)

    first = experts * expert_parameters(WIDTH) + rows * (WIDTH + 1)
    later = (levels - 1) * (experts * expert_parameters(H) + rows * (H + 1))
    shared_gates = 0 if levels == 1 else experts * (WIDTH + 1) + (levels - 2) * experts * (H + 1)

    assert dense_parameters(model) == first + later + shared_gates + tower_parameters(model)


def test_the_shared_gate_chooses_from_the_experts_of_all_tasks_too():
    """FuxiCTR (and STEM and INFNet built on it) lets it choose from the shared experts alone."""
    model, inputs = scattered(make("ple", **UNEQUAL)), some_inputs(3, 40)

    model(inputs)["click"].square().sum().backward()

    of_first_level = model.first.own.deeper[0].weight_EIO.grad.flatten(1).abs().sum(dim=1)
    assert of_first_level.shape == (T * 2,)
    assert of_first_level.min() > 0  # like's and share's experts reach click through the shared mixture
    rows = model.first.shared_gate.candidate.weight.grad.abs().sum(dim=1)
    assert rows.shape == (T * 2 + 3,)
    assert rows.min() > 0


def test_gates_of_the_second_level_read_what_the_first_gave():
    model, inputs = scattered(make("ple")), some_inputs()
    seen = []
    model.later[0].task_gates.register_forward_hook(lambda _module, given, _out: seen.append(given[0]))

    model(inputs)

    first, _ = model.first(*model.features(inputs), inputs.request_index)
    torch.testing.assert_close(seen[0], first[:, :T].transpose(0, 1))


def test_the_last_level_has_no_shared_gate_and_every_parameter_learns():
    model, inputs = scattered(make("ple", levels=3)), some_inputs(3, 60)

    sum(raw.square().sum() for raw in model(inputs).values()).backward()

    assert [level.shared_gate is None for level in (model.first, *model.later)] == [False, False, True]
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_last_levels_own_experts_and_gates_hear_their_task_alone():
    model, inputs = scattered(make("ple", **UNEQUAL)), some_inputs(3, 40)
    last = model.later[0]

    model(inputs)["like"].square().sum().backward()

    for weight in (last.own.deeper[0].weight_EIO, last.own.first.weight_EIO, last.task_gates.weight_EIO):
        by_task = weight.grad.reshape(T, -1)
        assert torch.count_nonzero(by_task[[0, 2]]) == 0
        assert torch.count_nonzero(by_task[1]) > 0
    own = {id(p) for module in model.task_modules() for p in module.parameters()}
    assert {id(p) for p in (*last.own.parameters(), *last.task_gates.parameters())} <= own
    assert not own & {id(p) for p in model.first.parameters()}


def test_the_smallest_ple_has_one_shared_expert_and_one_a_task():
    model, inputs = make("ple", tasks=TASKS[:2], task_experts=1, shared_experts=1), some_inputs()

    assert model.expert_names == {"click": ("task:click:0", "shared:0"), "like": ("task:like:0", "shared:0")}
    assert {tuple(raw.shape) for raw in model(inputs).values()} == {(6, 1)}


def test_gates_are_those_of_the_last_level():
    model, inputs = scattered(make("ple", **UNEQUAL)), some_inputs()
    first, _ = model.first(*model.features(inputs), inputs.request_index)

    got = model.gates(inputs)["share"]

    torch.testing.assert_close(got, _softmax(first[:, 2], model.later[0].task_gates, 2))


def test_three_levels_of_unequal_experts_export(tmp_path):
    model = scattered(make("ple", levels=3, **UNEQUAL))
    module = ServingModule(model, TASKS, [spec.name for spec in input_specs(both_sides())])

    export_graph(module, both_sides(), tmp_path / "model.onnx")  # raises ParityError above 1e-5

    assert (tmp_path / "model.onnx").exists()
