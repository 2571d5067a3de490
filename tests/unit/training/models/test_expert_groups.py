"""Layers over one input a group: the stacked products are what single layers would give."""

import pytest
import torch

from tests.gated import grouped_experts, stacked
from training.models.expert_groups import GroupedExperts, GroupedGates, StackedFactored
from training.models.layers import StackedLinear

INDEX = torch.tensor([0, 0, 1, 1, 1])


def test_a_stack_of_factored_layers_is_each_layer_over_its_own_joined_sides():
    layer, u, c = StackedFactored(3, 4, 2, 5), torch.randn(3, 2, 4), torch.randn(3, 5, 2)

    got = layer(u, c, INDEX)

    for g in range(3):
        weight, bias = stacked(layer, g)
        torch.testing.assert_close(got[g], torch.cat([u[g][INDEX], c[g]], dim=1) @ weight + bias)


def test_a_side_without_fields_takes_no_part():
    u, c = torch.randn(3, 2, 4), torch.randn(3, 5, 2)
    of_candidates, of_requests = StackedFactored(3, 0, 2, 6), StackedFactored(3, 4, 0, 6)

    by_candidate = of_candidates(torch.zeros(3, 1, 0), c, INDEX)
    by_request = of_requests(u, torch.zeros(3, 5, 0), INDEX)

    torch.testing.assert_close(by_candidate, c @ of_candidates.candidate_GCO + of_candidates.bias_G1O)
    torch.testing.assert_close(by_request, (u @ of_requests.request_GUO + of_requests.bias_G1O)[:, INDEX])


def test_one_input_may_serve_all_groups():
    layer, u, c = StackedFactored(3, 4, 2, 5), torch.randn(1, 2, 4), torch.randn(1, 5, 2)

    torch.testing.assert_close(layer(u, c, INDEX), layer(u.expand(3, 2, 4), c.expand(3, 5, 2), INDEX))


@pytest.mark.parametrize("hidden", [(6,), (6, 4), (6, 4, 3)])
def test_grouped_experts_are_mlps_over_the_input_of_their_group(hidden):
    experts, x = GroupedExperts(StackedLinear(3, 5, 2 * 6), 3, 2, hidden), torch.randn(3, 7, 5)

    got = experts(x)

    assert got.shape == (7, 6, hidden[-1])
    for e, wanted in enumerate(grouped_experts(experts, list(x))):
        torch.testing.assert_close(got[:, e], wanted)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 4)])
def test_gates_start_even_whatever_they_are_made_of(hidden):
    gates = GroupedGates(lambda groups, out: StackedLinear(groups, 5, out), 3, hidden, 4)

    assert torch.equal(gates(torch.randn(3, 7, 5)), torch.zeros(7, 3, 4))


def test_gates_with_hidden_layers_are_mlps():
    gates, x = GroupedGates(lambda groups, out: StackedLinear(groups, 5, out), 3, (6, 4), 2), torch.randn(3, 7, 5)
    for parameter in gates.parameters():
        torch.nn.init.normal_(parameter)

    got = gates(x)

    for g, hidden in enumerate(grouped_experts(gates.body, list(x))):
        weight, bias = stacked(gates.logits, g)
        torch.testing.assert_close(got[:, g], hidden @ weight + bias)
