"""Sluice networks: subspaces mixed across tasks, depths mixed before each tower."""

import pytest
import torch

from tests.rankers import count_parameters, gradients, joined, joined_layer, shaken, some_inputs, tiny


def _networks(model):
    """Give each task's layers: (weight, bias) each."""
    weight, bias = joined_layer(model.first)
    width, networks = model.widths[0], []
    for k in range(len(model.tasks)):
        mine = slice(k * width, (k + 1) * width)
        deeper = [(layer.weight_EIO[k], layer.bias_E1O[k, 0]) for layer in model.deeper]
        networks.append([(weight[:, mine], bias[mine]), *deeper])
    return networks


def _project(projection, k, x):
    if isinstance(projection, torch.nn.Identity):
        return x
    return x @ projection.weight_EIO[k] + projection.bias_E1O[k, 0]


@pytest.mark.parametrize("hidden", [(8, 6), (6, 6), (4,)])
def test_subspaces_of_all_tasks_are_mixed_and_the_tower_reads_a_mixture_of_depths(hidden):
    model, inputs = shaken(tiny("sluice", hidden=hidden)).eval(), some_inputs()

    got = model(inputs)

    networks, x = _networks(model), [joined(model, inputs)] * 3
    mixed = [0.0] * 3
    for level, width in enumerate(hidden):
        alpha, halves = model.stitches[level].weight, []
        for k in range(3):
            weight, bias = networks[k][level]
            g = torch.relu(x[k] @ weight + bias)
            halves += [g[:, : width // 2], g[:, width // 2 :]]
        stitched = [sum(alpha[i, j] * halves[j] for j in range(6)) for i in range(6)]
        x = [torch.cat([stitched[2 * k], stitched[2 * k + 1]], dim=1) for k in range(3)]
        mixed = [
            mixed[k] + model.beta_TL[k, level] * _project(model.projections[level], k, x[k]) for k in range(3)
        ]  # fmt: skip
    for k, task in enumerate(model.tasks):
        torch.testing.assert_close(got[task], model.towers[task](mixed[k]))


def test_the_penalty_is_the_squared_overlap_of_every_unit_of_one_subspace_with_every_unit_of_the_other():
    model = shaken(tiny("sluice", hidden=(8, 6), options={"constraint_weight": 0.7}))

    overlap = 0.0
    for network in _networks(model):
        for weight, _ in network:
            half = weight.shape[1] // 2
            for one in weight[:, :half].T:
                for two in weight[:, half:].T:
                    overlap = overlap + (one @ two) ** 2

    torch.testing.assert_close(model.penalty({}), 0.7 * overlap)


def test_orthogonal_subspaces_cost_nothing():
    model = tiny("sluice", hidden=(4,))
    with torch.no_grad():
        model.first.request.weight.zero_()
        model.first.candidate.weight.zero_()
        for unit in range(12):  # the subspaces read the request and the candidate in turns
            side = model.first.request if unit % 4 < 2 else model.first.candidate
            side.weight[unit] = 1.0

    assert model.penalty({}).item() == 0.0


def test_the_penalty_is_on_by_default_and_can_be_switched_off():
    """The reference implementation leaves it off; without it nothing keeps two subspaces two."""
    assert tiny("sluice").penalty({}).item() > 0
    assert tiny("sluice", options={"constraint_weight": 0}).penalty({}) is None


def test_it_starts_mostly_its_own_and_with_all_depths_alike():
    model = tiny("sluice", hidden=(8, 6))

    for stitch in model.stitches:
        torch.testing.assert_close(stitch.weight.diagonal(), torch.full((6,), 0.9))
        torch.testing.assert_close(stitch.weight.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(model.beta_TL.detach(), torch.full((3, 2), 0.5))


def test_a_subspace_can_be_shared_while_the_other_stays_private():
    """The paper's point: with only the second subspaces mixed, another task's loss reaches those units alone."""
    model = shaken(tiny("sluice", hidden=(8,))).eval()
    alpha = torch.eye(6)
    alpha[1::2, 1::2] = 1 / 3
    with torch.no_grad():
        model.stitches[0].weight.copy_(alpha)

    found = gradients(model, model(some_inputs())["like"].sum())

    bias = found["first.request.bias"].reshape(3, 2, 4)
    assert (bias[[0, 2], 0] == 0).all()
    assert (bias[:, 1].abs().sum(dim=1) > 0).all()


def test_noise_is_for_training_only():
    model, inputs = shaken(tiny("sluice")), some_inputs()

    assert not torch.equal(model.train()(inputs)["click"], model(inputs)["click"])
    assert torch.equal(model.eval()(inputs)["click"], model(inputs)["click"])


def test_without_noise_training_and_serving_agree():
    model, inputs = shaken(tiny("sluice", options={"noise": 0})), some_inputs()

    assert torch.equal(model.train()(inputs)["click"], model.eval()(inputs)["click"])


def test_an_odd_width_is_rounded_up_so_that_both_subspaces_are_alike():
    assert tiny("sluice", hidden=(7, 5)).widths == [8, 6]


def test_what_mixes_is_stepped_faster_and_never_decays():
    model = tiny("sluice", options={"learning_rate_factor": 50})

    (group,) = model.parameter_groups()

    assert (group.learning_rate_factor, group.has_decay) == (50, False)
    mixing = {id(model.beta_TL), *(id(stitch.weight) for stitch in model.stitches)}
    assert {id(weight) for weight in group.parameters} == mixing


@pytest.mark.parametrize(("hidden", "projection"), [((8, 6), (8 + 1) * 6), ((6, 6), 0)])
def test_its_size_is_that_of_its_networks_and_of_what_mixes_them(hidden, projection):
    model = tiny("sluice", hidden=hidden)
    inputs = model.features.request_dim + model.features.candidate_dim
    bottom = (inputs + 1) * hidden[0] + (hidden[0] + 1) * hidden[1]
    mixing = 2 * (2 * 3) ** 2 + 3 * 2

    own = 3 * (bottom + projection + hidden[1] + 1)

    assert count_parameters(model) == count_parameters(model.features) + own + mixing
