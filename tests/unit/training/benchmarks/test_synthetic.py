"""A small version of the MMoE paper's synthetic experiment: what its figures say, as ratios."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.benchmarks.synthetic import (
    ARCHITECTURES,
    SETTINGS,
    Cell,
    held_out_loss,
    label_correlation,
    matched_models,
)
from training.comparing.capacity import dense_parameters
from training.data.synthetic import TASKS, schema
from training.models.registry import build_model

SMALL = replace(SETTINGS[0], width=20, rows=8_000, held_out=4_000, epochs=8)
SEEDS = range(4)


@pytest.fixture(scope="module")
def losses():
    """Loss by architecture and correlation, one a seed; the same rows in each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {
        (arch, correlation): np.array([held_out_loss(_cell(arch, correlation), seed) for seed in SEEDS])
        for arch in ARCHITECTURES
        for correlation in (0.5, 1.0)
    }
    torch.set_num_threads(threads)
    return found


def _cell(arch, correlation):
    return Cell(setting=SMALL, arch=arch, correlation=correlation, learning_rate=1e-2)


def _gap(losses, arch):
    return (losses[arch, 0.5] - losses[arch, 1.0]).mean()


@pytest.mark.slow
def test_a_shared_bottom_gets_worse_as_tasks_part(losses):
    assert losses["shared_bottom", 0.5].mean() > 1.15 * losses["shared_bottom", 1.0].mean()


@pytest.mark.slow
def test_one_gate_a_task_spares_a_mixture_what_one_gate_for_all_costs_it(losses):
    assert _gap(losses, "omoe") > 0
    assert _gap(losses, "mmoe") < 0.5 * _gap(losses, "omoe")


@pytest.mark.slow
def test_mixtures_lose_less_than_a_shared_bottom_as_tasks_part(losses):
    assert _gap(losses, "mmoe") < _gap(losses, "omoe") < _gap(losses, "shared_bottom")


@pytest.mark.slow
def test_mmoe_beats_a_shared_bottom_of_its_size_where_tasks_differ(losses):
    assert losses["mmoe", 0.5].mean() < 0.9 * losses["shared_bottom", 0.5].mean()


def test_labels_agree_more_as_directions_do():
    found = [label_correlation(correlation, SEEDS, SMALL) for correlation in (0.0, 0.5, 0.9, 1.0)]

    assert found == sorted(found)
    assert found[-1] > 0.98


def test_all_architectures_have_as_many_parameters_as_mmoe():
    """The paper leaves gates out of its count; here a gate's weights buy units elsewhere."""
    counts = {
        arch: dense_parameters(build_model(arch, schema(100), TASKS, config))
        for arch, config in matched_models(100).items()
    }

    experts, gates, towers = 8 * (100 + 1) * 16, 2 * (100 + 1) * 8, 2 * ((16 + 1) * 8 + 8 + 1)
    assert counts["mmoe"] == experts + gates + towers
    assert all(abs(count - counts["mmoe"]) < 0.05 * counts["mmoe"] for count in counts.values())
