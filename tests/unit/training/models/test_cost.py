"""What an architecture is said to cost: counted, and the same as by hand."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.export import random_inputs
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.cost import CANDIDATES, cost_of, reference_schema, reference_tasks
from training.models.registry import architectures, build_model

DIM, HIDDEN, TOWER, TASKS = 16, (128, 64), 32, 4
REQUEST, CANDIDATE = 16 * DIM + 8, 10 * DIM + 6
TABLE_ROWS = 2 * (10_000 + 2) + 23 * (50 + 2)


def _tower():
    return HIDDEN[1] * TOWER + TOWER


def test_the_reference_problem_has_the_fields_that_the_documentation_says():
    schema = reference_schema()

    assert [len(schema.on(side)) for side in ("request", "candidate")] == [24, 16]
    assert len(reference_tasks()) == TASKS


def test_a_shared_bottom_costs_its_matrix_products_and_the_requests_half_once_a_request():
    cost = cost_of("shared_bottom")

    assert cost.multiply_adds == pytest.approx(
        REQUEST * HIDDEN[0] / CANDIDATES + CANDIDATE * HIDDEN[0] + HIDDEN[0] * HIDDEN[1] + TASKS * _tower()
    )
    assert cost.parameters == (
        (REQUEST + CANDIDATE + 1) * HIDDEN[0] + (HIDDEN[0] + 1) * HIDDEN[1] + TASKS * (_tower() + TOWER + 1)
    )
    assert cost.table_parameters == TABLE_ROWS * DIM


def test_single_tasks_cost_a_shared_bottom_less_the_other_towers_each():
    single, shared = cost_of("single_task"), cost_of("shared_bottom")

    assert single.multiply_adds == pytest.approx(TASKS * (shared.multiply_adds - (TASKS - 1) * _tower()))
    assert single.relative_to(shared)["table_parameters"] == TASKS


def test_what_is_made_of_weights_alone_does_not_count():
    """STAR multiplies two factors to each weight; the runtime multiplies data with the product."""
    star, single = cost_of("star", {"normalise": True}), cost_of("single_task")

    assert star.multiply_adds == single.multiply_adds


def test_options_count():
    assert cost_of("info_select", {"level": "hidden"}).multiply_adds == cost_of("shared_bottom").multiply_adds
    assert cost_of("cea", {"fields": False}).multiply_adds < cost_of("cea").multiply_adds / 2


@pytest.mark.parametrize("arch", list(architectures()))
def test_work_is_a_constant_so_much_a_request_and_so_much_a_candidate(arch):
    """Else the three counts that the cost is made of would say nothing about a list of 500."""
    schema = reference_schema()
    model = build_model(arch, schema, reference_tasks(), ModelConfig()).eval()

    def work(requests, candidates):
        inputs = as_tensors(random_inputs(schema, requests, candidates, np.random.default_rng(0)))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(inputs)
        return counter.get_total_flops() / 2

    cost, fixed = cost_of(arch).multiply_adds, work(1, 8)
    a_request, a_candidate = work(2, 8) - fixed, work(1, 9) - fixed

    assert work(3, 70) == fixed + 2 * a_request + 62 * a_candidate
    assert cost == pytest.approx(a_candidate + a_request / CANDIDATES)
    assert cost > 0
