"""Cross-stitch: networks side by side, mixed after every layer."""

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
from training.models.cross_stitch import Stitch, mostly_own


def _network(model, position):
    """Give one task's layers: (weight, bias) each."""
    weight, bias = joined_layer(model.first)
    width = model.config.hidden[0]
    mine = slice(position * width, (position + 1) * width)
    deeper = [(layer.weight_EIO[position], layer.bias_E1O[position, 0]) for layer in model.deeper]
    return [(weight[:, mine], bias[mine]), *deeper]


@pytest.mark.parametrize("per_channel", [False, True])
def test_after_every_layer_each_task_goes_on_with_a_weighted_sum_of_all(per_channel):
    model, inputs = shaken(tiny("cross_stitch", options={"per_channel": per_channel})), some_inputs()

    got = model(inputs)

    networks, x = [_network(model, k) for k in range(3)], [joined(model, inputs)] * 3
    for level, stitch in enumerate(model.stitches):
        layers = [networks[k][level] for k in range(3)]
        h = [torch.relu(x[k] @ weight + bias) for k, (weight, bias) in enumerate(layers)]
        mix = stitch.weight if per_channel else stitch.weight.expand(h[0].shape[1], 3, 3)
        x = [sum(mix[:, k, j] * h[j] for j in range(3)) for k in range(3)]
    for k, task in enumerate(model.tasks):
        torch.testing.assert_close(got[task], model.towers[task](x[k]))


def test_stitches_start_at_nine_tenths_own_and_the_rest_shared():
    for stitch in tiny("cross_stitch").stitches:
        expected = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
        torch.testing.assert_close(stitch.weight.detach(), expected)


def test_stitches_of_channels_start_as_the_one_of_the_layer():
    h = torch.randn(3, 4, 5)

    torch.testing.assert_close(Stitch(3, 5)(h), Stitch(3)(h))


def test_networks_that_agree_are_left_alone_at_the_start():
    h = torch.randn(4, 5).expand(3, 4, 5)

    torch.testing.assert_close(Stitch(3)(h), h)


def test_a_single_task_is_not_mixed_at_all():
    assert mostly_own(1).item() == 1.0
    tiny("cross_stitch", tasks=(BinaryTask(name="a"),))(some_inputs())


def test_without_mixing_no_loss_reaches_another_network():
    model = shaken(tiny("cross_stitch"))
    with torch.no_grad():
        for stitch in model.stitches:
            stitch.weight.copy_(torch.eye(3))

    found = gradients(model, model(some_inputs())["like"].sum())

    assert (found["deeper.0.weight_EIO"][[0, 2]] == 0).all()
    assert (found["first.candidate.weight"].reshape(3, -1)[[0, 2]] == 0).all()
    assert found["first.candidate.weight"].reshape(3, -1)[1].abs().sum() > 0


def test_with_mixing_every_loss_reaches_every_network():
    model = shaken(tiny("cross_stitch"))

    found = gradients(model, model(some_inputs())["like"].sum())

    assert (found["deeper.0.weight_EIO"].abs().sum(dim=(1, 2)) > 0).all()


def test_the_stitches_are_stepped_faster_and_never_decay():
    model = tiny("cross_stitch", options={"learning_rate_factor": 50})

    (group,) = model.parameter_groups()

    assert (group.learning_rate_factor, group.has_decay) == (50, False)
    assert {id(weight) for weight in group.parameters} == {id(stitch.weight) for stitch in model.stitches}


@pytest.mark.parametrize(("per_channel", "mixing"), [(False, 2 * 3 * 3), (True, (8 + 5) * 3 * 3)])
def test_a_layers_stitch_has_a_weight_for_each_pair_of_tasks(per_channel, mixing):
    """MMLRec mixes by one full matrix over all channels of all tasks, which is another dense layer."""
    model = tiny("cross_stitch", options={"per_channel": per_channel})
    inputs = model.features.request_dim + model.features.candidate_dim
    bottom, tower = (inputs + 1) * 8 + (8 + 1) * 5, 5 + 1

    assert count_parameters(model) == count_parameters(model.features) + 3 * (bottom + tower) + mixing


def test_stitches_of_channels_are_served_too(tmp_path):
    """The default ones are exported with every other architecture."""
    model = shaken(tiny("cross_stitch", options={"per_channel": True}))

    export_of(model, both_sides(), tmp_path / "model.onnx")
