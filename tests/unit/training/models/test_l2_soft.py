"""L2-soft sharing: twins that start alike, and what holds them together."""

from itertools import combinations

import pytest
import torch

from contract.tasks import BinaryTask
from tests.rankers import FUNNEL, count_parameters, gradients, joined, joined_layer, shaken, some_inputs, tiny
from training.errors import InvalidOption

PAIR = (BinaryTask(name="a"), BinaryTask(name="b"))


def _bottom(model, position):
    """Give one task's bottom as plain layers: (weight, bias) each."""
    weight, bias = joined_layer(model.bottoms.first)
    width = model.config.hidden[0]
    mine = slice(position * width, (position + 1) * width)
    deeper = [(layer.weight_EIO[position], layer.bias_E1O[position, 0]) for layer in model.bottoms.deeper]
    return [(weight[:, mine], bias[mine]), *deeper]


def _theta(model, position):
    return torch.cat([part.flatten() for layer in _bottom(model, position) for part in layer])


def test_each_task_reads_its_own_bottom():
    model, inputs = shaken(tiny("l2_soft")), some_inputs()

    got = model(inputs)

    for position, task in enumerate(model.tasks):
        h = joined(model, inputs)
        for weight, bias in _bottom(model, position):
            h = torch.relu(h @ weight + bias)
        torch.testing.assert_close(got[task], model.towers[task](h))


def test_the_penalty_of_two_tasks_is_the_papers():
    model = shaken(tiny("l2_soft", tasks=PAIR, options={"alpha": 0.3}))

    apart = _theta(model, 0) - _theta(model, 1)

    torch.testing.assert_close(model.penalty({}), 0.3 * (apart**2).sum())


def test_the_penalty_of_more_tasks_is_the_mean_over_pairs():
    model = shaken(tiny("l2_soft", options={"alpha": 0.3}))

    pairs = [((_theta(model, k) - _theta(model, j)) ** 2).sum() for k, j in combinations(range(3), 2)]

    torch.testing.assert_close(model.penalty({}), 0.3 * sum(pairs) / 3)


def test_each_weight_is_pulled_by_its_own_distance_however_wide_the_network():
    """A mean over the weights would divide the pull by their number, and a default alpha would do nothing."""
    model = shaken(tiny("l2_soft", tasks=PAIR, hidden=(40, 30), options={"alpha": 0.3}))
    layer = model.bottoms.deeper[0].weight_EIO

    pull = torch.autograd.grad(model.penalty({}), layer)[0]

    torch.testing.assert_close(pull[0], 2 * 0.3 * (layer[0] - layer[1]))
    torch.testing.assert_close(pull[1], -pull[0])


def test_all_bottoms_start_as_one_and_so_cost_exactly_nothing():
    model = tiny("l2_soft", options={"alpha": 1e6})

    assert model.penalty({}).item() == 0.0
    assert torch.equal(_theta(model, 0), _theta(model, 2))


def test_the_units_of_a_bottom_do_not_start_alike():
    """PaddleRec starts all units of a network with one constant, and they stay one unit forever (issue 721)."""
    weight, _ = _bottom(tiny("l2_soft"), 0)[0]

    assert len({tuple(unit) for unit in weight.T.tolist()}) == weight.shape[1]


@pytest.mark.parametrize("sizes", [{"options": {"alpha": 0}}, {"tasks": PAIR[:1]}], ids=["alpha 0", "one task"])
def test_nothing_is_coupled_without_alpha_or_without_a_second_task(sizes):
    assert shaken(tiny("l2_soft", **sizes)).penalty({}) is None


def test_a_tasks_loss_never_touches_anothers_bottom():
    model = shaken(tiny("l2_soft"))

    found = gradients(model, model(some_inputs())["like"].sum())

    for name, gradient in found.items():
        if name.startswith("bottoms"):
            mine, others = gradient.reshape(3, -1)[1], gradient.reshape(3, -1)[[0, 2]]
            assert (others == 0).all(), name
            assert mine.abs().sum() > 0, name


def _distance_after_training(alpha):
    model, inputs = tiny("l2_soft", tasks=PAIR, options={"alpha": alpha}), some_inputs(candidates=40)
    optimiser = torch.optim.Adam([*model.bottoms.parameters(), *model.towers.parameters()], lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        raw = model(inputs)
        losses = ((raw["a"] - 1) ** 2).mean() + ((raw["b"] + 1) ** 2).mean()
        (losses if alpha == 0 else losses + model.penalty(raw)).backward()
        optimiser.step()
    return ((_theta(model, 0) - _theta(model, 1)) ** 2).sum().sqrt().item()


def test_a_stronger_alpha_keeps_the_bottoms_closer():
    free, held, tied = (_distance_after_training(alpha) for alpha in (0, 1e-2, 1e2))

    assert tied < 0.1 * free
    assert tied < held < free


def test_it_has_one_bottom_and_one_tower_a_task():
    model = tiny("l2_soft")
    inputs = model.features.request_dim + model.features.candidate_dim
    bottom = (inputs + 1) * 8 + (8 + 1) * 5
    tower = 5 + 1

    assert count_parameters(model) == count_parameters(model.features) + len(FUNNEL) * (bottom + tower)
    assert model.shared_parameters() == []


def test_a_negative_alpha_is_refused():
    with pytest.raises(InvalidOption, match="alpha"):
        tiny("l2_soft", options={"alpha": -1})
