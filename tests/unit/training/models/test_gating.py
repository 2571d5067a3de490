"""Gate weights, their options, and the contract that a report relies on."""

import pytest
import torch

from tests.gated import TASKS, make, scattered, some_inputs
from training.errors import InvalidOption
from training.models.gating import Blocks, Gated, GateOptions, GateSoftmax

GATED = ("cgc", "home", "mmoe", "omoe", "ple", "stem")


def test_without_options_a_gate_is_the_plain_softmax():
    logits = torch.randn(50, 4)

    torch.testing.assert_close(GateSoftmax(GateOptions()).train()(logits), torch.softmax(logits, dim=-1))


def test_a_higher_temperature_evens_the_weights_out_as_the_power_of_its_inverse():
    logits = torch.randn(50, 4)
    plain = torch.softmax(logits, dim=-1)

    got = GateSoftmax(GateOptions(temperature=4.0))(logits)

    wanted = plain**0.25 / (plain**0.25).sum(dim=-1, keepdim=True)
    torch.testing.assert_close(got, wanted)


def test_gate_dropout_leaves_experts_out_and_scales_the_rest_to_one():
    torch.manual_seed(0)
    logits = torch.randn(20_000, 4)
    plain = torch.softmax(logits, dim=-1)

    got = GateSoftmax(GateOptions(gate_dropout=0.1)).train()(logits)

    kept = got > 0
    rest = plain * kept
    torch.testing.assert_close(got, rest / rest.sum(dim=-1, keepdim=True))
    assert 1 - kept.float().mean().item() == pytest.approx(0.1, abs=0.005)


def test_gate_dropout_is_gone_when_served():
    logits = torch.randn(50, 4)

    torch.testing.assert_close(GateSoftmax(GateOptions(gate_dropout=0.5)).eval()(logits), torch.softmax(logits, -1))


def test_a_row_whose_experts_would_all_be_dropped_keeps_them_all():
    torch.manual_seed(0)
    logits = torch.randn(4_000, 2, requires_grad=True)

    got = GateSoftmax(GateOptions(gate_dropout=0.9)).train()(logits)
    (got**2).sum().backward()

    assert torch.isfinite(got).all()
    torch.testing.assert_close(got.sum(dim=-1), torch.ones(4_000))
    assert torch.isfinite(logits.grad).all()


def test_blocks_put_each_task_at_its_own_block_and_zero_elsewhere():
    weights = torch.arange(1.0, 7.0).reshape(1, 3, 2)

    got = Blocks([0, 1, 0], 2)(weights)

    assert got.tolist() == [[[1, 2, 0, 0], [0, 0, 3, 4], [5, 6, 0, 0]]]


@pytest.mark.parametrize("arch", GATED)
def test_gates_give_every_task_weights_that_sum_to_one_and_have_a_name_each(arch):
    model, inputs = scattered(make(arch)), some_inputs(2, 7)

    weights = model.gates(inputs)

    assert isinstance(model, Gated)
    assert tuple(weights) == model.tasks == tuple(model.expert_names)
    for task, each in weights.items():
        assert each.shape == (7, len(model.expert_names[task]))
        assert len(set(model.expert_names[task])) == each.shape[1]
        assert each.min() >= 0
        torch.testing.assert_close(each.sum(dim=1), torch.ones(7))


@pytest.mark.parametrize("arch", GATED)
def test_every_gate_starts_as_the_plain_mean_of_its_experts(arch):
    model = make(arch).eval()

    for weights in model.gates(some_inputs()).values():
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / weights.shape[1]))


@pytest.mark.parametrize("arch", GATED)
def test_gate_options_work_in_every_gated_model(arch):
    model = scattered(make(arch, gate_dropout=0.5, temperature=2.0))
    inputs = some_inputs(2, 200)
    served = model.gates(inputs)["like"]

    dropped = model.train().gates(inputs)["like"]

    assert served.min() > 0
    assert (dropped == 0).any()
    torch.testing.assert_close(dropped.sum(dim=1), torch.ones(200))


@pytest.mark.parametrize("arch", GATED)
def test_one_candidate_gives_one_row_a_task(arch):
    """DeepCTR-Torch squeezes gates times experts, so that a batch of one row loses an axis."""
    model, inputs = make(arch).train(), some_inputs(1, 1)

    assert {task: tuple(raw.shape) for task, raw in model(inputs).items()} == dict.fromkeys(model.tasks, (1, 1))


@pytest.mark.parametrize("arch", GATED)
@pytest.mark.parametrize("tasks", [TASKS[:1], TASKS[:2]], ids=["one task", "two tasks"])
def test_one_expert_of_each_kind_is_enough(arch, tasks):
    model, inputs = make(arch, tasks=tasks, num_experts=1).eval(), some_inputs()

    raw = model(inputs)

    assert [tuple(each.shape) for each in raw.values()] == [(6, 1)] * len(tasks)
    assert all(torch.isfinite(each).all() for each in raw.values())


@pytest.mark.parametrize("arch", GATED)
def test_experts_do_not_start_alike_nor_become_alike(arch):
    """PaddleRec starts experts, gates and towers at constants: all units of all experts stay the same for ever."""
    model, inputs = make(arch, tasks=TASKS[:2]), some_inputs(4, 64)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)

    for _ in range(3):
        optimiser.zero_grad()
        sum((raw - 1).square().mean() for raw in model(inputs).values()).backward()
        optimiser.step()

    for experts in (module for module in model.modules() if hasattr(module, "deeper")):
        weight = experts.deeper[0].weight_EIO.flatten(1)
        assert torch.pdist(weight).min() > 0.1 if len(weight) > 1 else True
        assert torch.pdist(experts.deeper[0].weight_EIO[0].T).min() > 0.05


# HoME normalises its experts by the batch in training, as its paper has it.
@pytest.mark.parametrize("arch", [arch for arch in GATED if arch != "home"])
def test_gates_of_a_row_do_not_depend_on_its_neighbours_in_training(arch):
    """torch-rechub's gates hold a BatchNorm, so that a row's weights change with the batch it is in."""
    model, inputs = scattered(make(arch)).train(), some_inputs(1, 8)
    alone = some_inputs(1, 8)
    few = type(alone)(
        request_ids=alone.request_ids,
        request_dense=alone.request_dense,
        candidate_ids=alone.candidate_ids[:2],
        candidate_dense=alone.candidate_dense[:2],
        request_index=alone.request_index[:2],
    )

    for task, weights in model.gates(few).items():
        torch.testing.assert_close(weights, model.gates(inputs)[task][:2])


@pytest.mark.parametrize("arch", ["shared_bottom", "single_task"])
def test_models_without_gates_are_not_taken_for_gated_ones(arch):
    assert not isinstance(make(arch), Gated)


@pytest.mark.parametrize(
    ("arch", "option"),
    [
        ("mmoe", {"gate_dropout": 1.0}),
        ("mmoe", {"temperature": 0.0}),
        ("omoe", {"levels": 2}),
        ("cgc", {"levels": 2}),
        ("ple", {"levels": 0}),
        ("ple", {"shared_experts": 0}),
        ("stem", {"task_experts": 0}),
        ("home", {"rank": 0}),
    ],
)
def test_options_out_of_range_or_of_another_model_are_refused_by_name(arch, option):
    with pytest.raises(InvalidOption, match=next(iter(option))):
        make(arch, **option)
