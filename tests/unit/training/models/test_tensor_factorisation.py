"""Tensor factorisation: layers of all tasks as slices of one low-rank tensor."""

from collections import Counter

import pytest
import torch

from tests.rankers import both_sides, count_parameters, export_of, gradients, joined, shaken, some_inputs, tiny
from training.errors import InvalidOption
from training.models.tucker import Tucker


def _by_the_papers_formula(tucker):
    """Multiply the core along each of its sides, one number after the other: ``[T, I, O]``."""
    core, tasks, inputs, outputs = tucker.core_CAB, tucker.task_TC, tucker.input_IA, tucker.output_OB
    weight = torch.zeros(len(tasks), len(inputs), len(outputs))
    for c in range(core.shape[0]):
        for a in range(core.shape[1]):
            for b in range(core.shape[2]):
                rank_one = tasks[:, c, None, None] * inputs[None, :, a, None] * outputs[None, None, :, b]
                weight = weight + core[c, a, b] * rank_one
    return weight


def test_the_matrices_are_the_tucker_product_of_core_and_factors():
    tucker = shaken(Tucker((3, 6, 5), (4, 3, 2)))

    torch.testing.assert_close(tucker(), _by_the_papers_formula(tucker))


@pytest.mark.parametrize("ranks", [(20, 12, 3), (10, 6, 3), (2, 2, 1)])
def test_the_variance_starts_at_two_over_the_inputs_whatever_the_ranks(ranks):
    """Small independent factors would multiply to almost nothing: MMoE's table prints such a baseline at 0.746."""
    weight = Tucker((3, 20, 12), ranks)()

    assert weight.square().mean().item() == pytest.approx(2 / 20, rel=1e-4)


def test_full_ranks_start_as_independent_he_initialised_networks():
    torch.manual_seed(0)
    weight = Tucker((3, 20, 12), (20, 12, 3))()
    torch.manual_seed(0)
    he = torch.randn(3, 20, 12)

    scale = weight / he

    torch.testing.assert_close(scale, scale.mean().expand_as(scale), rtol=1e-3, atol=1e-3)


def test_the_factors_start_as_the_leading_directions_of_that_tensor():
    torch.manual_seed(0)
    tucker = Tucker((3, 20, 12), (7, 5, 2))
    torch.manual_seed(0)
    unfolded = torch.randn(3, 20, 12).transpose(0, 1).flatten(1)

    energy = torch.linalg.eigvalsh(unfolded @ unfolded.T).flip(0)[:7]
    kept = (tucker.input_IA.T @ unfolded).square().sum(dim=1)

    torch.testing.assert_close(kept, energy, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(tucker.input_IA.T @ tucker.input_IA, torch.eye(7), rtol=0, atol=1e-5)


def test_each_task_reads_its_own_slice_of_every_tensor():
    model, inputs = shaken(tiny("tensor_factorisation")), some_inputs()

    got = model(inputs)

    for k, task in enumerate(model.tasks):
        x = joined(model, inputs)
        for tucker, bias in zip(model.weights, model.biases, strict=True):
            x = torch.relu(x @ _by_the_papers_formula(tucker)[k] + bias[k, 0])
        torch.testing.assert_close(got[task], model.towers[task](x))


def test_task_rank_one_makes_all_tasks_multiples_of_one_matrix():
    weight = shaken(tiny("tensor_factorisation", options={"task_rank": 1})).weights[1]()

    ratio = weight[1] / weight[0]

    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-3, atol=1e-3)


def test_a_tasks_loss_moves_what_is_shared_and_no_others_share():
    model = shaken(tiny("tensor_factorisation"))

    found = gradients(model, model(some_inputs())["like"].sum())

    for level in ("weights.0", "weights.1"):
        assert found[f"{level}.input_IA"].abs().sum() > 0
        assert found[f"{level}.output_OB"].abs().sum() > 0
        assert found[f"{level}.core_CAB"].abs().sum() > 0
        assert (found[f"{level}.task_TC"][[0, 2]] == 0).all()
        assert found[f"{level}.task_TC"][1].abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "ranks"),
    [
        ({}, [(7, 4, 3), (4, 3, 3)]),
        ({"share": 1.0}, [(14, 8, 3), (8, 5, 3)]),
        ({"share": 0.25, "task_rank": 2}, [(4, 2, 2), (2, 2, 2)]),
        ({"ranks": [(3, 2, 1), (4, 2, 2)]}, [(3, 2, 1), (4, 2, 2)]),
    ],
)
def test_ranks_are_shares_of_each_layers_sides_or_given(options, ranks):
    model = tiny("tensor_factorisation", options=options)
    inputs = model.features.request_dim + model.features.candidate_dim
    assert inputs == 14

    sizes = [
        i * r1 + h * r2 + 3 * r3 + r1 * r2 * r3 + 3 * h
        for (i, h), (r1, r2, r3) in zip([(inputs, 8), (8, 5)], ranks, strict=True)
    ]

    assert count_parameters(model) == count_parameters(model.features) + sum(sizes) + 3 * (5 + 1)


@pytest.mark.parametrize(
    "options", [{"ranks": [(3, 2, 1)]}, {"ranks": [(3, 2, 1), (4, 9, 2)]}, {"ranks": [(3, 2, 1), (0, 2, 2)]}]
)
def test_ranks_that_fit_no_layer_are_refused(options):
    with pytest.raises(InvalidOption, match="ranks"):
        tiny("tensor_factorisation", options=options)


def test_the_served_graph_has_plain_products_and_no_trace_of_the_factors(tmp_path):
    """The weights are contracted before export: three products with data, and nothing computed from weights alone."""
    model = tiny("tensor_factorisation", hidden=(128, 64))  # large enough that the exporter leaves the contraction

    graph = export_of(model, both_sides(), tmp_path / "model.onnx")

    kinds, constants = Counter(node.op_type for node in graph.node), {each.name for each in graph.initializer}
    assert kinds["Einsum"] == 0
    assert kinds["MatMul"] == 3
    assert not [node.op_type for node in graph.node if node.input and set(node.input) <= constants]
