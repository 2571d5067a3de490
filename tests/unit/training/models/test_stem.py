"""STEM-Net: tables of each task's own; all forward, task-specific backward."""

import pytest
import torch
from torch import nn

from tests.gated import (
    TASKS,
    WIDTH,
    both_sides,
    dense_parameters,
    expert_parameters,
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
LINEAR = UNEQUAL | {"gate_hidden": ()}


def _weights(gates, inputs):
    """Softmax of each gate's MLP, one at a time."""
    found = []
    for g, x in enumerate(inputs):
        if gates.body is not None:
            first, bias = stacked(gates.body.first, g)
            x = torch.relu(x @ first + bias)
            for layer in gates.body.deeper:
                x = torch.relu(x @ layer.weight_EIO[g] + layer.bias_E1O[g, 0])
        weight, bias = stacked(gates.logits, g)
        found.append(torch.softmax(x @ weight + bias, dim=1))
    return found


def _by_hand(model, inputs):
    tasks = [joined(features, inputs) for features in model.task_features.values()]
    common = joined(model.features, inputs)
    for level in model.levels:
        own, shared = grouped_experts(level.own, tasks), grouped_experts(level.shared, [common])
        gates = _weights(level.task_gates, [task + common for task in tasks])
        tasks = [mixture(gate, [*own, *shared]) for gate in gates]
        if level.shared_gate is not None:
            common = mixture(_weights(level.shared_gate, [common])[0], [*own, *shared])
    return {task: model.towers[task](tasks[k]) for k, task in enumerate(model.tasks)}


@pytest.mark.parametrize(
    "options", [UNEQUAL, LINEAR, UNEQUAL | {"levels": 2}, LINEAR | {"levels": 3}], ids=["", "linear", "two", "three"]
)
def test_scores_are_what_the_paper_writes(options):
    model, inputs = scattered(make("stem", **options)), some_inputs()

    got, wanted = model(inputs), _by_hand(model, inputs)

    for task in model.tasks:
        torch.testing.assert_close(got[task], wanted[task])


def _learners(model, position):
    """What belongs to the task at this position: its experts' slices and its tables."""
    level, task = model.levels[0], model.tasks[position]
    experts = (level.own.deeper[0].weight_EIO, level.own.first.request_GUO, level.own.first.candidate_GCO)
    slices = [parameter.grad.reshape(T, -1)[position] for parameter in experts]
    return [*slices, *(parameter.grad.to_dense() for parameter in model.task_features[task].parameters())]


def test_experts_and_tables_of_another_task_get_a_gradient_of_exactly_zero():
    model, inputs = scattered(make("stem", **UNEQUAL)), some_inputs(3, 40)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    model(inputs)["like"].square().sum().backward()

    assert all(torch.count_nonzero(grad) == 0 for k in (0, 2) for grad in _learners(model, k))
    assert all(torch.count_nonzero(grad) > 0 for grad in _learners(model, 1))
    assert model.levels[0].shared.deeper[0].weight_EIO.grad.flatten(1).abs().sum(dim=1).min() > 0
    assert model.features.embedding.weight.weight.grad.to_dense().any()


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_score_of_a_task_reads_the_experts_of_the_others(mode):
    model, inputs = scattered(make("stem", **UNEQUAL)).train(mode == "train"), some_inputs()
    before = model(inputs)

    with torch.no_grad():
        model.levels[0].own.deeper[0].bias_E1O[0] += 1.0  # an expert of click

    after = model(inputs)
    assert all(not torch.equal(after[task], before[task]) for task in model.tasks)


def test_gates_learn_from_what_the_others_experts_say():
    model, inputs = scattered(make("stem", **LINEAR)), some_inputs(3, 40)

    model(inputs)["like"].square().sum().backward()

    by_gate_and_expert = model.levels[0].task_gates.logits.candidate_GCO.grad.abs().sum(dim=1)
    assert by_gate_and_expert[1].min() > 0
    assert torch.count_nonzero(by_gate_and_expert[[0, 2]]) == 0


def test_the_shared_gate_sees_every_expert_and_stops_nothing():
    model, inputs = scattered(make("stem", levels=2, **LINEAR)), some_inputs(3, 40)

    model(inputs)["like"].square().sum().backward()

    first, last = model.levels
    assert last.shared_gate is None
    assert first.shared_gate.logits.candidate_GCO.grad[0].abs().sum(dim=0).min() > 0
    assert first.own.deeper[0].weight_EIO.grad.flatten(1).abs().sum(dim=1).min() > 0
    assert torch.count_nonzero(last.own.deeper[0].weight_EIO.grad.reshape(T, -1)[[0, 2]]) == 0


def test_each_task_and_all_together_have_tables_that_start_apart():
    model = make("stem")

    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]

    assert len({id(table) for table in tables}) == T + 1
    assert len({table.shape for table in tables}) == 1
    assert torch.pdist(torch.stack([table.flatten() for table in tables])).min() > 0.1


@pytest.mark.parametrize("levels", [1, 2])
def test_parameters_follow_the_formula(levels):
    model = make("stem", levels=levels, gate_hidden=(7,), **UNEQUAL)
    experts = T * 2 + 3

    def level(width):
        gates = T if width == H or levels == 1 else T + 1
        return experts * expert_parameters(width) + gates * ((width + 1) * 7 + 8 * experts)

    wanted = level(WIDTH) + (levels - 1) * level(H)
    assert dense_parameters(model) == wanted + tower_parameters(model)


def test_every_parameter_learns_from_all_tasks_together():
    model, inputs = scattered(make("stem", levels=2), seed=2), some_inputs(3, 60)

    sum(raw.square().sum() for raw in model(inputs).values()).backward()

    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_gradients_are_balanced_on_the_shared_experts_alone():
    model = make("stem")

    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in model.levels[0].shared.parameters()}


def test_gates_of_the_authors_code_have_two_hidden_layers():
    first, second = make("stem").levels[0].task_gates.body.first, make("stem").levels[0].task_gates.body.deeper

    assert (first.bias_G1O.shape[-1], [layer.bias_E1O.shape[-1] for layer in second]) == (128, [64])


def test_two_levels_export(tmp_path):
    model = scattered(make("stem", levels=2, **UNEQUAL))
    module = ServingModule(model, TASKS, [spec.name for spec in input_specs(both_sides())])

    export_graph(module, both_sides(), tmp_path / "model.onnx")  # raises ParityError above 1e-5

    assert (tmp_path / "model.onnx").exists()
