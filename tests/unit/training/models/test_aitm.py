"""AITM: information flows down the chain, outputs are end to end, and later steps are no likelier than earlier ones."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch.nn import functional as F

from tests.unit.training.models import funnel_world as world
from tests.unit.training.models.funnel_world import CTR, CVR, PAID, WATCH
from training.data.batches import Batch
from training.export import ServingModule, export_graph, input_specs, random_inputs
from training.models.aitm import InformationTransfer
from training.models.base import ModelConfig
from training.trainer import _Losses

CHAIN = (CTR, CVR, PAID)
WIDE = ModelConfig(embedding_dim=4, hidden=(16, 8), tower_hidden=(8,), dropout=0.0)  # no unit is dead for all rows


def _p(logit):
    return torch.sigmoid(logit[:, 0])


# --- the network


def test_the_transfer_attends_over_upstream_and_own_features():
    """z = sum_x softmax(<W1 x, W2 x> / sqrt(H)) W3 x, over x in {p, q}."""
    torch.manual_seed(0)
    transfer = InformationTransfer(4)
    for layer in (transfer.query, transfer.key):
        torch.nn.init.normal_(layer.weight)
    upstream, q = torch.randn(6, 4), torch.randn(6, 4)

    got = transfer(upstream, q)

    dense = transfer.pass_on.layers[0]
    p = torch.relu(upstream @ dense.weight.T + dense.bias)
    scores = [
        ((x @ transfer.query.weight.T) * (x @ transfer.key.weight.T)).sum(dim=1, keepdim=True) / 2.0 for x in (p, q)
    ]
    total = scores[0].exp() + scores[1].exp()
    z = (scores[0].exp() * (p @ transfer.value.weight.T) + scores[1].exp() * (q @ transfer.value.weight.T)) / total
    torch.testing.assert_close(got, z)


def test_each_task_reads_what_the_one_before_it_has_learnt():
    model, inputs = world.model("aitm", CHAIN), world.rows()
    u, c = model.features(inputs)
    q = model.bottoms(u, c, inputs.request_index)

    raw = model(inputs)

    z2 = model.transfers[0](q[:, 0], q[:, 1])
    z3 = model.transfers[1](z2, q[:, 2])
    torch.testing.assert_close(raw["ctr"], model.towers["ctr"](q[:, 0]))
    torch.testing.assert_close(raw["cvr"], model.towers["cvr"](z2))
    torch.testing.assert_close(raw["paid"], model.towers["paid"](z3))


def test_both_sources_count_alike_at_first():
    torch.manual_seed(0)
    transfer = InformationTransfer(16)
    upstream, q = torch.randn(5, 16), torch.randn(5, 16)

    even = transfer.value(transfer.pass_on(upstream) + q) / 2

    torch.testing.assert_close(transfer(upstream, q), even, atol=0.02, rtol=0)


def test_the_three_attention_matrices_have_no_bias():
    transfer = world.model("aitm").transfers[0]

    assert [layer.bias for layer in (transfer.query, transfer.key, transfer.value)] == [None] * 3


def test_its_parameters_are_those_of_the_formula():
    model = world.model("aitm", CHAIN)
    width = model.features.request_dim + model.features.candidate_dim
    bottom, tower = (width + 1) * 5 + (5 + 1) * 4, (4 + 1) * 3 + (3 + 1)
    transfer = 4 * (4 + 1) + 3 * 4 * 4

    total = world.parameter_count(model) - world.parameter_count(model.features)

    assert total == 3 * (bottom + tower) + 2 * transfer


@pytest.mark.parametrize("detach", [False, True])
def test_a_later_loss_teaches_the_tasks_before_it_unless_detached(detach):
    model = world.model("aitm", config=WIDE, detach_upstream=detach)

    model(world.rows(16))["cvr"].sum().backward()

    upstream = model.bottoms.deeper[0].weight_EIO.grad
    assert (torch.count_nonzero(upstream[0]) == 0) == detach
    assert torch.count_nonzero(upstream[1]) > 0
    assert torch.count_nonzero(model.transfers[0].pass_on.layers[0].weight.grad) > 0


def test_an_earlier_loss_never_reaches_a_later_task():
    model = world.model("aitm", config=WIDE)

    model(world.rows(16))["ctr"].sum().backward()

    assert torch.count_nonzero(model.bottoms.deeper[0].weight_EIO.grad[1]) == 0
    assert all(p.grad is None for p in model.transfers.parameters())


def test_a_single_task_needs_no_transfer():
    model = world.model("aitm", (CTR,))

    assert list(model(world.rows())) == ["ctr"]
    assert model.penalty(model(world.rows())) is None


# --- the loss


def test_outputs_are_trained_on_joint_labels_over_all_impressions():
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1], paid=[0.4, 0.1, -0.2, 0.9])

    got = world.losses(world.model("aitm", CHAIN), raw, world.labels())

    joint = {"ctr": [0.0, 1, 1, 1], "cvr": [0.0, 0, 1, 1], "paid": [0.0, 0, 0, 1]}
    for task, label in joint.items():
        torch.testing.assert_close(got[task], F.binary_cross_entropy(_p(raw[task]), torch.tensor(label)))


def test_the_calibrator_is_the_mean_excess_of_each_step_over_the_one_before():
    """torch-rechub, MTReclib and PaddleRec leave this term of the paper out."""
    raw = world.logits(ctr=[-1.0, 2.0, 0.0, 0.0], cvr=[1.0, 1.0, -1.0, 0.0], paid=[0.0, 3.0, 0.0, -9.0])

    got = world.model("aitm", CHAIN).penalty(raw)

    p = {task: _p(logit) for task, logit in raw.items()}
    excess = (p["cvr"] - p["ctr"]).clamp(min=0).mean() + (p["paid"] - p["cvr"]).clamp(min=0).mean()
    torch.testing.assert_close(got, 0.6 * excess)


def test_the_calibrator_lowers_the_later_step_and_raises_the_earlier_one():
    raw = world.logits(ctr=[-1.0, 2.0], cvr=[1.0, 1.0])

    world.model("aitm").penalty(raw).backward()

    assert raw["cvr"].grad[0] > 0 > raw["ctr"].grad[0]
    assert raw["cvr"].grad[1] == raw["ctr"].grad[1] == 0.0


def test_its_weight_is_an_option():
    raw = world.logits(ctr=[-1.0, 2.0], cvr=[1.0, 1.0])

    one, none = (world.model("aitm", calibrator=weight).penalty(raw) for weight in (1.0, 0.0))

    torch.testing.assert_close(one, (_p(raw["cvr"]) - _p(raw["ctr"])).clamp(min=0).mean())
    assert none.item() == 0.0


def test_steps_beside_each_other_are_not_compared():
    """Two actions after a click: neither contains the other, whatever the order of their declaration."""
    like, share = (CVR.model_copy(update={"name": name}) for name in ("like", "share"))
    raw = world.logits(ctr=[3.0] * 4, like=[-1.0] * 4, share=[1.0] * 4)

    assert world.model("aitm", (CTR, like, share)).penalty(raw).item() == 0.0


def test_the_trainer_adds_the_calibrator():
    model = world.model("aitm")
    batch_inputs = random_inputs(world.schema(), 2, 4, np.random.default_rng(0))
    labels = {name: np.asarray(value, np.float32) for name, value in world.LABELS.items()}
    got = _Losses.of(model, Batch(inputs=batch_inputs, labels=labels)).penalty

    torch.testing.assert_close(got, model.penalty(model(world.rows())))


def test_a_duration_passes_information_on_and_keeps_its_own_loss():
    model = world.model("aitm", (CTR, WATCH, CVR), config=WIDE)
    raw = world.logits(ctr=[3.0] * 4, watch=[9.0] * 4, cvr=[1.0] * 4)

    loss = world.losses(model, raw, world.labels())["watch"]
    model(world.rows(16))["cvr"].sum().backward()

    truth = torch.log1p(torch.tensor([3.0, 40.0, 7.0]))
    torch.testing.assert_close(loss, F.mse_loss(torch.full((3,), 9.0), truth))
    assert model.penalty(raw).item() == 0.0
    assert torch.count_nonzero(model.bottoms.deeper[0].weight_EIO.grad[1]) > 0


# --- what is served


def test_served_heads_are_conditional_and_their_product_is_the_end_to_end_probability():
    raw = world.logits(ctr=[2.0, 1.0, -5.0, 30.0], cvr=[1.0, -3.0, -9.0, 12.0], paid=[0.0, -4.0, -30.0, -12.0])

    served = world.model("aitm", CHAIN).served(raw)

    torch.testing.assert_close(_p(served["ctr"]), _p(raw["ctr"]))
    torch.testing.assert_close(_p(served["cvr"]), _p(raw["cvr"]) / _p(raw["ctr"]), rtol=1e-5, atol=1.1e-5)
    torch.testing.assert_close(_p(served["paid"]), _p(raw["paid"]) / _p(raw["cvr"]), rtol=1e-5, atol=1.1e-5)


def test_a_step_that_passes_the_one_before_is_served_at_its_height():
    raw = world.logits(ctr=[-2.0], cvr=[1.0], paid=[0.0])

    served = world.model("aitm", CHAIN).served(raw)

    p = {task: _p(logit).item() for task, logit in served.items()}
    assert p["cvr"] == pytest.approx(1.0, abs=2e-5)
    assert p["ctr"] * p["cvr"] * p["paid"] == pytest.approx(_p(raw["ctr"]).item(), rel=2e-5)


@pytest.mark.parametrize(("scale", "rarer"), [(1.0, 2.0), (10.0, 2.0), (200.0, 0.0)])
def test_rare_events_and_sure_networks_are_the_same_in_onnx_runtime(scale, rarer, tmp_path):
    """The exporter writes log-sigmoid as Log(Sigmoid), and ONNX Runtime's sigmoid is good to 1e-7 absolutely: the
    quotient of two small ones was 6e-5 off."""
    model = world.model("aitm", CHAIN, config=WIDE)
    with torch.no_grad():
        for position, tower in enumerate(model.towers.values(), start=2):
            tower[1].weight.mul_(scale)
            tower[1].bias.fill_(-rarer * position)
    names = [spec.name for spec in input_specs(world.schema())]
    module = ServingModule(model, list(model.task_specs.values()), names)

    export_graph(module, world.schema(), tmp_path / "m.onnx")  # raises ParityError above 1e-5


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_served_logits_are_finite_for_any_output(scale):
    torch.manual_seed(0)
    raw = {task: scale * torch.randn(256, 1) for task in ("ctr", "cvr", "paid")}

    served = world.model("aitm", CHAIN).served(raw)

    assert all(torch.isfinite(logit).all() for logit in served.values())


def test_a_duration_is_served_as_it_is():
    model = world.model("aitm", (CTR, WATCH, CVR))
    raw = model(world.rows())

    torch.testing.assert_close(model.served(raw)["watch"], raw["watch"])


def test_the_graph_serves_conditional_and_joint_heads_by_name(tmp_path):
    model = world.model("aitm", (CTR, CVR, WATCH, PAID), config=ModelConfig(embedding_dim=4, dropout=0.0))
    names = [spec.name for spec in input_specs(world.schema())]
    export_graph(ServingModule(model, list(model.task_specs.values()), names), world.schema(), tmp_path / "m.onnx")
    session = ort.InferenceSession(str(tmp_path / "m.onnx"))
    outputs = [output.name for output in session.get_outputs()]
    feeds = random_inputs(world.schema(), 2, 7, np.random.default_rng(0)).feeds()

    heads = dict(zip(outputs, map(torch.from_numpy, session.run(None, feeds)), strict=True))

    assert outputs == ["ctr", "cvr", "ctcvr", "watch_seconds", "log_watch", "paid", "cvr_paid"]
    raw = model(world.rows(7))
    joint = torch.minimum(_p(raw["ctr"]), _p(raw["cvr"]))
    torch.testing.assert_close(heads["ctcvr"], joint, atol=1e-5, rtol=0)
    torch.testing.assert_close(heads["cvr_paid"], torch.minimum(joint, _p(raw["paid"])), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads["ctr"] * heads["cvr"], heads["ctcvr"], atol=1e-6, rtol=0)
