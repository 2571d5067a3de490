"""AdaTT: experts of every task at every level, gates over all of them, and a residual of one's own."""

import math

import pytest
import torch

from tests.rankers import (
    both_sides,
    count_parameters,
    export_of,
    gradients,
    joined,
    joined_layer,
    shaken,
    some_inputs,
    tiny,
)

GROUPS = pytest.mark.parametrize(
    ("own", "shared"), [(3, 0), (1, 0), (2, 2), (1, 1), (2, 1)], ids=lambda value: str(value)
)


def _adatt(own, shared, **sizes):
    return tiny("adatt", num_experts=own, options={"shared_experts": shared}, **sizes)


def _experts(own, shared):
    """Give the unit of each expert."""
    return [k for k in range(3) for _ in range(own)] + [3] * shared


def _native(units, unit, owners):
    weights = iter(units.native[unit].tolist())
    return [next(weights) if owner == unit else 0.0 for owner in owners]


def _unit(logits, experts, units, unit, owners):
    """``softmax(G x) E + v [own experts]``."""
    gate = torch.softmax(logits, dim=1)
    native = _native(units, unit, owners)
    return sum((gate[:, e : e + 1] + native[e]) * experts[e] for e in range(len(owners)))


@GROUPS
def test_a_unit_is_its_gate_over_all_experts_plus_its_own_experts(own, shared):
    model, inputs = shaken(_adatt(own, shared)), some_inputs()
    owners, width = _experts(own, shared), 5

    got = model(inputs)

    x = joined(model, inputs)
    weight, bias = joined_layer(model.first)
    experts = list(torch.relu(x @ weight + bias).split(8, dim=1))
    gates, gate_bias = joined_layer(model.first_gates)
    logits = (x @ gates + gate_bias).split(len(owners), dim=1)
    level = [_unit(logits[k], experts, model.units[0], k, owners) for k in range(3 + (shared > 0))]

    deeper, experts = model.deeper[0], []
    for e, owner in enumerate(owners):
        layer, row, place = (deeper.own, owner, e % own) if owner < 3 else (deeper.shared, 0, e - 3 * own)
        mine = slice(place * width, (place + 1) * width)
        experts.append(torch.relu(level[owner] @ layer.weight_EIO[row][:, mine] + layer.bias_E1O[row, 0, mine]))
    for k, task in enumerate(model.tasks):
        logits = level[k] @ model.deeper_gates[0].weight_EIO[k] + model.deeper_gates[0].bias_E1O[k, 0]
        out = _unit(logits, experts, model.units[1], k, owners)
        torch.testing.assert_close(got[task], model.towers[task](out))


@GROUPS
def test_adding_the_residual_leaves_the_gates_a_softmax(own, shared):
    """Meta's general variant adds to a view of the gates in place, which breaks on a GPU with single experts."""
    model = shaken(_adatt(own, shared))
    units = model.units[0]
    logits = torch.randn(4, units.count * units.experts, requires_grad=True)
    kept = torch.softmax(logits.detach().reshape(4, units.count, -1), dim=-1)

    units(logits, torch.randn(4, units.experts, 8)).sum().backward()

    assert torch.equal(units.gate_weights(logits).detach(), kept)
    assert logits.grad.abs().sum() > 0


def test_gates_start_as_the_plain_mean_of_all_experts():
    model = _adatt(2, 1)

    for parameter in (*model.first_gates.parameters(), *model.deeper_gates.parameters()):
        assert (parameter == 0).all()


def test_the_residual_starts_within_one_over_the_root_of_the_experts():
    for units in _adatt(3, 2).units:
        for weights in units.native:
            assert (weights.abs() <= 1 / math.sqrt(len(weights))).all()
            assert weights.requires_grad


def test_a_single_own_expert_has_weight_one_for_good():
    for weights in _adatt(1, 2).units[0].native[:3]:
        assert weights.item() == 1.0
        assert not weights.requires_grad


def test_by_default_there_are_only_the_tasks_units():
    model = tiny("adatt")

    assert [units.count for units in model.units] == [3, 3]
    assert [units.experts for units in model.units] == [9, 9]


def test_the_shared_unit_has_experts_at_every_level_and_an_output_at_all_but_the_last():
    model = _adatt(2, 2)

    assert [units.count for units in model.units] == [4, 3]
    assert [units.experts for units in model.units] == [8, 8]
    assert (model.units[1].native_weights()[:, 6:] == 0).all()


def test_a_loss_reaches_all_tasks_experts_through_the_gate_and_only_its_own_residual():
    model = shaken(_adatt(2, 0))

    found = gradients(model, model(some_inputs())["like"].sum())

    assert (found["deeper.0.own.weight_EIO"].abs().sum(dim=(1, 2)) > 0).all()
    assert (found["units.1.native.0"] == 0).all()
    assert found["units.1.native.1"].abs().sum() > 0


@pytest.mark.parametrize("hidden", [(8, 5), (8,), (8, 6, 5)])
@GROUPS
def test_its_size_counts_experts_gates_and_residuals(own, shared, hidden):
    model = _adatt(own, shared, hidden=hidden)
    inner, experts = 3 + (shared > 0), 3 * own + shared

    size, width = 0, model.features.request_dim + model.features.candidate_dim
    for level, out in enumerate(hidden):
        units = 3 if level == len(hidden) - 1 else inner
        native = 3 * own + (shared if units == 4 else 0)
        size += (width + 1) * experts * out + (width + 1) * units * experts + native
        width = out

    assert count_parameters(model) == count_parameters(model.features) + size + 3 * (width + 1)


@pytest.mark.parametrize(("own", "shared"), [(1, 1), (2, 2)])
def test_the_general_variant_is_served_too(own, shared, tmp_path):
    """The default one is exported with every other architecture."""
    export_of(shaken(_adatt(own, shared)), both_sides(), tmp_path / "model.onnx")
