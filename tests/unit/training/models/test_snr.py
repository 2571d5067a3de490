"""SNR: sub-networks whose connections are learned and can be switched off."""

import math

import pytest
import torch

from contract.tasks import BinaryTask
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
from training.models.hard_concrete import HardConcrete

KINDS = pytest.mark.parametrize("kind", ["trans", "aver"])
OPEN, CLOSED = 20.0, -20.0


def _gate(log_alpha):
    return min(1.0, max(0.0, 1.2 / (1.0 + math.exp(-log_alpha)) - 0.1))


def _gates(route):
    return [[_gate(value) for value in row] for row in route.gates.log_alpha_OI.tolist()]


def _transformed(route, u, output):
    """``v_i = sum_j z_ij W_ij u_j``."""
    z = _gates(route)
    return sum(z[output][j] * (u[j] @ route.weight_IHOK[j, :, output]) for j in range(len(u)))


def _averaged(route, u, output):
    """``v_i = sum_j z_ij u_j``."""
    z = _gates(route)
    return sum(z[output][j] * u[j] for j in range(len(u)))


def _set_gates(model, log_alpha):
    """Set every connection, ``log_alpha(output, input)``."""
    with torch.no_grad():
        for gates in model.gates():
            for i in range(gates.log_alpha_OI.shape[0]):
                for j in range(gates.log_alpha_OI.shape[1]):
                    gates.log_alpha_OI[i, j] = log_alpha(i, j)


@KINDS
def test_what_enters_a_sub_network_or_tower_is_the_gated_sum_of_the_level_below(kind):
    model, inputs = shaken(tiny("snr", options={"kind": kind, "start": 0.5})).eval(), some_inputs()

    got = model(inputs)

    weight, bias = joined_layer(model.first)
    u = list(torch.relu(joined(model, inputs) @ weight + bias).split(8, dim=1))
    route, level = model.routes[0], model.levels[0]
    if kind == "trans":
        u = [torch.relu(_transformed(route, u, i) + level.bias_S1H[i, 0]) for i in range(3)]
        v = [_transformed(model.to_towers, u, k) for k in range(3)]
    else:
        layers = [(level.weight_EIO[i], level.bias_E1O[i, 0]) for i in range(3)]
        u = [torch.relu(_averaged(route, u, i) @ weight + bias) for i, (weight, bias) in enumerate(layers)]
        v = [_averaged(model.to_towers, u, k) for k in range(3)]
    for k, task in enumerate(model.tasks):
        torch.testing.assert_close(got[task], model.towers[task](v[k]))


def test_with_all_connections_open_it_is_a_shared_bottom_of_as_many_times_the_width():
    model, inputs = shaken(tiny("snr")).eval(), some_inputs()
    _set_gates(model, lambda i, j: OPEN)

    got = model(inputs)

    weight, bias = joined_layer(model.first)
    h = torch.relu(joined(model, inputs) @ weight + bias)
    h = torch.relu(h @ model.routes[0].weight_IHOK.reshape(24, 15) + model.levels[0].bias_S1H.flatten())
    for k, task in enumerate(model.tasks):
        last = model.to_towers.weight_IHOK[:, :, k].reshape(15, 5)
        torch.testing.assert_close(got[task], model.towers[task](h @ last))


@KINDS
def test_with_only_own_connections_open_it_is_single_task_networks(kind):
    model = shaken(tiny("snr", options={"kind": kind})).eval()
    _set_gates(model, lambda i, j: OPEN if i == j else CLOSED)

    found = gradients(model, model(some_inputs())["like"].sum())

    bias = found["first.request.bias"].reshape(3, -1)
    assert (bias[[0, 2]] == 0).all()
    assert bias[1].abs().sum() > 0


def test_it_starts_as_a_shared_bottom_in_serving():
    for gates in tiny("snr").eval().gates():
        assert (gates() == 1.0).all()


@KINDS
def test_the_penalty_is_the_price_of_the_connections_expected_open(kind):
    model = shaken(tiny("snr", options={"kind": kind, "l0": 0.01}))

    values = [value for gates in model.gates() for value in gates.log_alpha_OI.flatten().tolist()]
    expected = sum(1.0 / (1.0 + math.exp(-(value - 2 / 3 * math.log(0.1 / 1.1)))) for value in values)

    assert len(values) == 3 * 3 + 3 * 3
    assert model.penalty({}).item() == pytest.approx(0.01 * expected, rel=1e-5)
    assert tiny("snr", options={"kind": kind, "l0": 0}).penalty({}) is None


@pytest.mark.parametrize("log_alpha", [-3.0, -0.5, 0.0, 1.0])
def test_a_gate_is_open_as_often_as_the_penalty_expects_and_reaches_both_ends(log_alpha):
    torch.manual_seed(0)
    gates = HardConcrete(200, 200, log_alpha)

    z = gates()

    assert ((z >= 0) & (z <= 1)).all()
    assert (z == 0).any()
    assert (z == 1).any()
    assert (z > 0).float().mean().item() == pytest.approx(gates.expected_open().item() / 40_000, abs=0.01)


@pytest.mark.parametrize("log_alpha", [-4.0, -1.0, 0.0, 1.0, 4.0])
def test_a_gate_in_serving_is_the_constant_of_the_paper(log_alpha):
    gates = HardConcrete(2, 3, log_alpha).eval()

    torch.testing.assert_close(gates().detach(), torch.full((3, 2), _gate(log_alpha)))


def test_connections_are_drawn_anew_in_training_and_fixed_in_serving():
    """MMLRec makes the noise a learned weight, so that it is drawn once for ever."""
    model, inputs = shaken(tiny("snr", options={"start": 0.0})), some_inputs()

    assert not torch.equal(model.train()(inputs)["click"], model(inputs)["click"])
    assert torch.equal(model.eval()(inputs)["click"], model(inputs)["click"])
    assert [name for name, _ in model.routes.named_parameters()] == ["0.weight_IHOK", "0.gates.log_alpha_OI"]


def test_every_connection_has_a_gate_of_its_own():
    """MMLRec has one alpha for all connections of a level, which then open and close together."""
    model = shaken(tiny("snr", options={"start": 0.0})).eval()

    moved = gradients(model, model(some_inputs())["like"].sum())["to_towers.gates.log_alpha_OI"]

    assert (moved[[0, 2]] == 0).all()
    assert len(set(moved[1].tolist())) == 3


def test_a_connection_that_costs_and_helps_nobody_closes():
    torch.manual_seed(0)
    model = shaken(tiny("snr", tasks=(BinaryTask(name="a"),), options={"l0": 0.1, "start": 0.0}))
    with torch.no_grad():
        model.to_towers.weight_IHOK[0] = 0.0
    model.to_towers.weight_IHOK.requires_grad_(False)
    optimiser = torch.optim.Adam([gates.log_alpha_OI for gates in model.gates()], lr=0.1)
    for _ in range(80):
        optimiser.zero_grad()
        raw = model(some_inputs())
        (((raw["a"] - 3.0) ** 2).mean() + model.penalty(raw)).backward()
        optimiser.step()

    assert model.eval().to_towers.gates()[0, 0] == 0.0


def test_gates_are_stepped_faster_and_never_decay():
    model = tiny("snr", options={"learning_rate_factor": 50})

    (group,) = model.parameter_groups()

    assert (group.learning_rate_factor, group.has_decay) == (50, False)
    assert {id(weight) for weight in group.parameters} == {id(gates.log_alpha_OI) for gates in model.gates()}


@pytest.mark.parametrize(
    ("kind", "connections"),
    [("trans", 9 * (1 + 8 * 5) + 3 * 5 + 9 * (1 + 5 * 5)), ("aver", 9 + 3 * (8 + 1) * 5 + 9)],
)
def test_its_size_counts_every_transformation(kind, connections):
    model = tiny("snr", options={"kind": kind})
    inputs = model.features.request_dim + model.features.candidate_dim
    first, towers = (inputs + 1) * 3 * 8, 3 * (5 + 1)

    assert count_parameters(model) == count_parameters(model.features) + first + connections + towers


def test_averaging_connections_are_served_too(tmp_path):
    """The default kind is exported with every other architecture."""
    export_of(shaken(tiny("snr", options={"kind": "aver"})), both_sides(), tmp_path / "model.onnx")


def test_gates_are_multiplied_into_the_served_weights(tmp_path):
    model = tiny("snr", hidden=(64, 32))  # large enough that the exporter leaves the product

    graph = export_of(model, both_sides(), tmp_path / "model.onnx")

    constants = {each.name for each in graph.initializer}
    assert not [node.op_type for node in graph.node if node.input and set(node.input) <= constants]
