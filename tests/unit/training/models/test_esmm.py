"""ESMM: two losses over all impressions, none on the conversion rate alone, three heads."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch.nn import functional as F

from contract.tasks import BinaryTask
from tests.unit.training.models import funnel_world as world
from tests.unit.training.models.funnel_world import CTR, CVR, NAN, PAID, WATCH
from training.export import ServingModule, export_graph, input_specs, random_inputs


def test_each_task_has_its_own_network_over_shared_embeddings():
    """The paper's z_k = t_k(f_k([u; c])), written out over the module's own weights."""
    model, inputs = world.model("esmm"), world.rows()
    u, c = model.features(inputs)
    x = torch.cat([u[inputs.request_index], c], dim=1)
    first = model.networks.bodies.first
    weight = torch.cat([first.request.weight, first.candidate.weight], dim=1)
    deeper = model.networks.bodies.deeper[0]

    raw = model(inputs)

    for k, task in enumerate(("ctr", "cvr")):
        own = slice(5 * k, 5 * (k + 1))
        h = torch.relu(x @ weight[own].T + first.request.bias[own])
        h = torch.relu(h @ deeper.weight_EIO[k] + deeper.bias_E1O[k])
        hidden, out = model.networks.towers[task][0].layers[0], model.networks.towers[task][1]
        torch.testing.assert_close(raw[task], out(torch.relu(hidden(h))))


def test_the_loss_is_that_of_click_plus_that_of_click_and_conversion_over_all_impressions():
    model = world.model("esmm")
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1])

    got = world.losses(model, raw, world.labels())

    p_ctr, p_cvr = (torch.sigmoid(raw[task][:, 0]) for task in ("ctr", "cvr"))
    torch.testing.assert_close(got["ctr"], F.binary_cross_entropy(p_ctr, torch.tensor([0.0, 1, 1, 1])))
    torch.testing.assert_close(got["cvr"], F.binary_cross_entropy(p_ctr * p_cvr, torch.tensor([0.0, 0, 1, 1])))


def test_a_third_stage_is_trained_on_the_product_of_all_three():
    model = world.model("esmm", (CTR, CVR, PAID))
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1], paid=[0.4, 0.1, -0.2, 0.9])

    got = world.losses(model, raw, world.labels())["paid"]

    p = torch.sigmoid(torch.cat(list(raw.values()), dim=1)).prod(dim=1)
    torch.testing.assert_close(got, F.binary_cross_entropy(p, torch.tensor([0.0, 0, 0, 1])))


def test_rows_that_nobody_clicked_teach_the_conversion_network_through_the_product():
    model = world.model("esmm")
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1])

    world.losses(model, raw, world.labels())["cvr"].backward()

    z_ctr, z_cvr = raw["ctr"][0], raw["cvr"][0]
    p = torch.sigmoid(z_ctr) * torch.sigmoid(z_cvr)
    torch.testing.assert_close(raw["cvr"].grad[0], p * torch.sigmoid(-z_cvr) / (1 - p) / 4)
    assert (raw["ctr"].grad != 0).all()


def test_there_is_no_loss_on_the_conversion_rate_alone():
    """The gradient of the conversion logit vanishes with the click's probability; a loss of its own would not."""
    model = world.model("esmm")
    raw = world.logits(ctr=[-40.0] * 4, cvr=[3.0] * 4)

    world.losses(model, raw, world.labels(ctr=[0.0] * 4, cvr=[NAN] * 4))["cvr"].backward()

    assert raw["cvr"].grad.abs().max() < 1e-12


@pytest.mark.parametrize("unreached", [NAN, 0.0, 1.0])
def test_how_the_data_spells_a_conversion_without_a_click_changes_nothing(unreached):
    model = world.model("esmm")
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1])

    got = world.losses(model, raw, world.labels(cvr=[unreached, 0.0, 1.0, 1.0]))

    torch.testing.assert_close(got, world.losses(model, raw, world.labels()))


def test_a_conversion_that_is_not_known_yet_counts_for_the_click_alone():
    model = world.model("esmm")
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1])

    sum(world.losses(model, raw, world.labels(cvr=[NAN, 0.0, 1.0, NAN])).values()).backward()

    assert raw["cvr"].grad[3] == 0.0
    assert raw["ctr"].grad[3] != 0.0


def test_the_order_of_labels_does_not_matter():
    """torch-rechub's ESMM silently needs its labels as (cvr, ctr, ctcvr)."""
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1])

    one = world.losses(world.model("esmm", (CTR, CVR)), raw, world.labels())
    other = world.losses(world.model("esmm", (CVR, CTR)), raw, dict(reversed(world.labels().items())))

    torch.testing.assert_close(one["cvr"], other["cvr"])
    torch.testing.assert_close(one["ctr"], other["ctr"])


def test_very_small_products_keep_their_gradient():
    """EasyRec#76 took square roots because p_ctr * p_cvr lost its digits; logarithms never multiply."""
    model = world.model("esmm")
    raw = world.logits(ctr=[-60.0] * 4, cvr=[-60.0] * 4)

    loss = world.losses(model, raw, world.labels(ctr=[1.0] * 4, cvr=[1.0] * 4))["cvr"]
    loss.backward()

    assert loss.item() == pytest.approx(120.0)
    torch.testing.assert_close(raw["cvr"].grad, torch.full((4, 1), -0.25))


def test_a_duration_or_a_count_with_a_condition_keeps_its_own_loss_over_its_own_rows():
    model = world.model("esmm", (CTR, CVR, WATCH))
    raw = world.logits(ctr=[0.0] * 4, cvr=[0.0] * 4, watch=[1.0, 2.0, 3.0, 4.0])

    got = world.losses(model, raw, world.labels())["watch"]

    truth = torch.log1p(torch.tensor([3.0, 40.0, 7.0]))
    torch.testing.assert_close(got, F.mse_loss(torch.tensor([2.0, 3.0, 4.0]), truth))


def test_all_three_rates_are_served_by_name(tmp_path):
    """ "How do I get the CVR?": busesese/MultiTaskModel#3; DeepCTR-Torch's ESMM never gives it."""
    model = world.model("esmm", (CTR, CVR, PAID))
    names = [spec.name for spec in input_specs(world.schema())]
    export_graph(ServingModule(model, list(model.task_specs.values()), names), world.schema(), tmp_path / "m.onnx")
    session = ort.InferenceSession(str(tmp_path / "m.onnx"))
    raw = model(world.rows(7))

    outputs = [output.name for output in session.get_outputs()]
    heads = dict(zip(outputs, session.run(None, _feeds(7)), strict=True))

    assert outputs == ["ctr", "cvr", "ctcvr", "paid", "cvr_paid"]
    p = {name: torch.sigmoid(raw[name][:, 0]) for name in ("ctr", "cvr", "paid")}
    for head, wanted in {**p, "ctcvr": p["ctr"] * p["cvr"], "cvr_paid": p["ctr"] * p["cvr"] * p["paid"]}.items():
        torch.testing.assert_close(torch.from_numpy(heads[head]), wanted, atol=1e-6, rtol=0)


def test_without_a_funnel_it_is_one_network_a_task_over_shared_embeddings():
    model = world.model("esmm", (CTR, BinaryTask(name="like")))
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], like=[1.5, 0.2, -0.7, 0.1])

    got = world.losses(model, raw, {**world.labels(), "like": torch.tensor([0.0, 1.0, 1.0, 0.0])})

    torch.testing.assert_close(
        got["like"], F.binary_cross_entropy_with_logits(raw["like"][:, 0], torch.tensor([0.0, 1.0, 1.0, 0.0]))
    )
    assert [getattr(task, "joint", None) for task in model.task_specs.values()] == [None, None]


def test_the_click_loss_reaches_its_own_network_and_the_embeddings_alone():
    model = world.model("esmm")

    model(world.rows())["ctr"].sum().backward()

    assert all(p.grad is None for p in model.networks.towers["cvr"].parameters())
    assert torch.count_nonzero(model.networks.bodies.deeper[0].weight_EIO.grad[1]) == 0
    assert torch.count_nonzero(model.networks.bodies.first.request.weight.grad[5:]) == 0
    assert torch.count_nonzero(model.features.embedding.weight.weight.grad.to_dense()) > 0


def test_it_has_one_network_and_one_tower_a_task():
    model = world.model("esmm", (CTR, CVR, WATCH))
    width = model.features.request_dim + model.features.candidate_dim
    network = (width + 1) * 5 + (5 + 1) * 4
    tower = (4 + 1) * 3 + (3 + 1) * 1

    assert world.parameter_count(model.networks) == 3 * (network + tower)


def test_networks_do_not_start_alike():
    """PaddleRec#721: constant starts keep all networks the same for ever."""
    raw = world.model("esmm", (CTR, CVR))(world.rows())

    assert not torch.allclose(raw["ctr"], raw["cvr"])


def _feeds(count):
    return random_inputs(world.schema(), 2, count, np.random.default_rng(0)).feeds()
