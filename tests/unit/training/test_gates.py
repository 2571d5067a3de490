"""What the report says of gates, against the weights of every row."""

import math

import numpy as np
import pytest
import torch

from tests.gated import TASKS, both_sides, make, scattered
from training.data.columns import EncodedSplit
from training.export import random_inputs
from training.gates import DEAD_BELOW, gate_statistics
from training.inputs import as_tensors


def _split(lengths, seed=0):
    """Lists of these lengths; the rows of each are its own."""
    arrays = random_inputs(both_sides(), len(lengths), sum(lengths), np.random.default_rng(seed))
    return EncodedSplit(
        request=arrays.request,
        candidate=arrays.candidate,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels={task.name: np.zeros(sum(lengths), np.float32) for task in TASKS},
        groups=np.arange(len(lengths)),
    )


def test_means_are_over_rows_though_batches_are_of_any_size():
    split = _split([1] * 512 + [300, 2])  # two batches, of 512 and 302 rows
    model = scattered(make("cgc", task_experts=2, shared_experts=3))
    rows = model.gates(as_tensors(split.span(0, 514)))["like"].detach().numpy()

    gate = gate_statistics(model, split).tasks["like"]

    assert tuple(gate.mean_weights) == model.expert_names["like"]
    np.testing.assert_allclose(list(gate.mean_weights.values()), rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(gate.entropy_nats, -(rows * np.log(rows)).sum(axis=1).mean(), atol=1e-5)
    assert gate.entropy_share == pytest.approx(gate.entropy_nats / math.log(5))


@pytest.mark.parametrize("arch", ["omoe", "mmoe", "cgc", "ple", "stem", "home"])
def test_gates_that_have_learnt_nothing_are_as_even_as_can_be(arch):
    model = make(arch)

    statistics = gate_statistics(model, _split([3, 4]))

    for task, gate in statistics.tasks.items():
        assert gate.entropy_nats == pytest.approx(math.log(len(model.expert_names[task])), abs=1e-5)
        assert gate.entropy_share == pytest.approx(1.0, abs=1e-5)
    assert statistics.dead_experts == ()


def test_an_expert_is_dead_only_where_no_task_uses_it():
    model = make("mmoe", num_experts=3)
    with torch.no_grad():
        by_task_and_expert = model.gate.request.bias.view(len(TASKS), 3)
        by_task_and_expert[:, 1] = -50.0  # nobody's
        by_task_and_expert[1:, 2] = -50.0  # the first task's alone

    statistics = gate_statistics(model, _split([3, 4]))

    assert statistics.dead_experts == ("shared:1",)
    assert statistics.tasks["like"].mean_weights["shared:2"] < DEAD_BELOW
    assert statistics.tasks["click"].mean_weights["shared:2"] == pytest.approx(0.5)
    assert statistics.tasks["like"].entropy_share == pytest.approx(0.0, abs=1e-5)


def test_an_own_expert_that_its_task_leaves_alone_is_dead():
    model = make("ple", task_experts=2, shared_experts=1)
    with torch.no_grad():
        model.later[-1].task_gates.bias_E1O[2, 0, 1] = -50.0

    assert gate_statistics(model, _split([3, 4])).dead_experts == ("task:share:1",)


def test_a_gate_without_a_choice_counts_as_even():
    model = make("omoe", num_experts=1)

    gate = gate_statistics(model, _split([3])).tasks["click"]

    assert (gate.mean_weights, gate.entropy_nats, gate.entropy_share) == ({"shared:0": 1.0}, 0.0, 1.0)


def test_gates_are_looked_at_as_they_are_served():
    model = scattered(make("mmoe", gate_dropout=0.5)).train()

    first, second = gate_statistics(model, _split([9])), gate_statistics(model.train(), _split([9]))

    assert first == second


def test_a_model_without_gates_has_no_statistics():
    assert gate_statistics(make("shared_bottom"), _split([3])) is None


def test_statistics_go_into_a_json_report():
    statistics = gate_statistics(make("mmoe"), _split([3])).model_dump(mode="json")

    assert statistics["dead_experts"] == []
    assert set(statistics["tasks"]["click"]) == {"mean_weights", "entropy_nats", "entropy_share"}
