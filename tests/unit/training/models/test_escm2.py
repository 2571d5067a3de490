"""ESCM²: the counterfactual risk by hand, unbiased where the paper says so, and clipped where it should be."""

import math

import onnx
import pytest
import torch
from torch.nn import functional as F

from tests.unit.training.models import funnel_world as world
from tests.unit.training.models.funnel_world import CTR, CVR, NAN, PAID, WATCH
from training.errors import InvalidOption
from training.export import ServingModule, export_graph, input_specs
from training.losses import mean_loss

CLICK = torch.tensor([0.0, 1, 1, 1])
CONVERTED = torch.tensor([0.0, 0, 1, 1])
RISK_ALONE = {"counterfactual_weight": 1.0, "global_weight": 0.0}


def _raw(**more):
    return world.logits(ctr=[0.3, -4.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1], **more)


def _parts(raw, clip):
    """Give click, the conversion's loss and the weight of each row as the paper writes them."""
    loss = F.binary_cross_entropy_with_logits(raw["cvr"][:, 0], CONVERTED, reduction="none")
    return loss, CLICK / torch.clamp(torch.sigmoid(raw["ctr"][:, 0]), min=clip)


def _risk(variant, raw, *, clip=0.05, labels=None):
    model = world.model("escm2", variant=variant, clip=clip, **RISK_ALONE)
    return world.losses(model, raw, labels or world.labels())["cvr"]


def test_the_ips_risk_weighs_clicked_rows_by_inverse_propensity_over_all_impressions():
    raw = _raw()
    loss, weight = _parts(raw, clip=0.05)

    torch.testing.assert_close(_risk("ips", raw), (weight * loss).sum() / 4)


def test_the_dr_risk_is_the_imputed_loss_its_correction_and_the_imputation_error():
    raw = _raw(cvr__imputation=[0.1, 2.0, -1.0, 0.4])
    loss, weight = _parts(raw, clip=0.05)
    imputed = torch.log(1 + torch.exp(raw["cvr:imputation"][:, 0]))

    by_hand = (imputed + weight * (loss - imputed)).mean() + (weight * (loss - imputed) ** 2).mean()

    torch.testing.assert_close(_risk("dr", raw), by_hand)


def test_the_whole_loss_is_clicks_plus_both_weighted_terms():
    raw = _raw()
    model = world.model("escm2", counterfactual_weight=0.3, global_weight=2.0)
    esmm, (loss, weight) = world.losses(world.model("esmm"), raw, world.labels()), _parts(raw, clip=0.05)

    got = world.losses(model, raw, world.labels())

    torch.testing.assert_close(got["ctr"], esmm["ctr"])
    torch.testing.assert_close(got["cvr"], 2.0 * esmm["cvr"] + 0.3 * (weight * loss).mean())


@pytest.mark.parametrize("variant", ["ips", "dr"])
def test_no_gradient_of_the_risk_reaches_the_click(variant):
    raw = _raw(cvr__imputation=[0.1, 2.0, -1.0, 0.4])

    _risk(variant, raw).backward()

    assert raw["ctr"].grad is None or torch.count_nonzero(raw["ctr"].grad) == 0
    assert torch.count_nonzero(raw["cvr"].grad[1:]) == 3


def test_the_imputation_error_teaches_the_imputation_alone():
    """Its gradient by the true loss would make rows that are better than imputed worse, and the rate too high."""
    ips, dr = _raw(), _raw(cvr__imputation=[0.1, 2.0, -1.0, 0.4])
    loss, weight = _parts(dr, clip=0.05)

    _risk("ips", ips).backward()
    _risk("dr", dr).backward()

    torch.testing.assert_close(dr["cvr"].grad, ips["cvr"].grad)
    z = dr["cvr:imputation"][:, 0]
    by_hand = (1 - weight - 2 * weight * (loss - F.softplus(z))) * torch.sigmoid(z) / 4
    torch.testing.assert_close(dr["cvr:imputation"].grad[:, 0], by_hand.detach())


def test_rows_that_nobody_clicked_give_the_ips_risk_no_gradient():
    raw = _raw()

    _risk("ips", raw).backward()

    assert raw["cvr"].grad[0] == 0.0


def test_a_weight_is_one_over_the_clip_at_most_and_exact_above_it():
    """PaddleRec clips weights to 15 whatever the option says."""
    raw = world.logits(ctr=[math.log(p / (1 - p)) for p in (0.5, 0.02, 0.001, 0.25)], cvr=[0.0] * 4)
    model = world.model("escm2", clip=0.01)

    torch.testing.assert_close(1 / model.propensity("cvr", raw), torch.tensor([2.0, 50.0, 100.0, 4.0]))


@pytest.mark.parametrize("variant", ["ips", "dr"])
def test_the_risk_of_a_batch_twice_is_the_risk_of_the_batch(variant):
    """PaddleRec clips first and multiplies by the batch size (or the clicks) afterwards."""
    raw = _raw(cvr__imputation=[0.1, 2.0, -1.0, 0.4])
    model = world.model("escm2", variant=variant, **RISK_ALONE)
    twice = {name: torch.cat([value, value]) for name, value in raw.items()}
    labels = {name: torch.cat([value, value]) for name, value in world.labels().items()}

    got = mean_loss(model.row_losses(twice, labels, world.rows(8))["cvr"])

    torch.testing.assert_close(got, world.losses(model, raw, world.labels())["cvr"])


def test_an_imputed_loss_may_be_larger_than_one():
    """PaddleRec imputes by a softmax probability; the loss of a row that is wrong by a logit of 5 is 5."""
    raw = world.logits(ctr=[0.0] * 4, cvr=[-5.0] * 4, cvr__imputation=[5.0] * 4)
    loss = F.softplus(torch.tensor(5.0))

    got = _risk("dr", raw, labels=world.labels(ctr=[1.0] * 4, cvr=[1.0] * 4))

    torch.testing.assert_close(got, loss)  # imputed exactly: no correction, no imputation error


def test_inverse_propensity_sees_the_whole_space_where_clicked_rows_alone_are_biased():
    """Theorem of the paper: with true propensities the expected risk is that of all impressions."""
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(200_000, generator=rng)
    click = torch.bernoulli(torch.sigmoid(z - 1), generator=rng)
    would_convert = torch.bernoulli(torch.sigmoid(z), generator=rng)  # known here even where nobody clicked
    raw = {"ctr": (z - 1).reshape(-1, 1), "cvr": torch.full((len(z), 1), -0.5)}
    labels = {"ctr": click, "cvr": torch.where(click == 1, would_convert, NAN)}
    model = world.model("escm2", clip=1e-4, **RISK_ALONE)

    ips = mean_loss(model.row_losses(raw, labels, world.rows())["cvr"])

    loss = F.binary_cross_entropy_with_logits(raw["cvr"][:, 0], would_convert, reduction="none")
    assert ips.item() == pytest.approx(loss.mean().item(), abs=0.01)
    assert abs(loss[click == 1].mean().item() - loss.mean().item()) > 0.05


def test_right_imputations_make_up_for_wrong_propensities():
    """Doubly robust: with the true loss imputed the risk is right whatever the propensities."""
    labels = world.labels(ctr=[1.0] * 4, cvr=[0.0, 0.0, 1.0, 1.0])
    loss = F.binary_cross_entropy_with_logits(
        torch.tensor([1.5, 0.2, -0.7, 0.1]), torch.tensor([0.0, 0.0, 1.0, 1.0]), reduction="none"
    )
    raw = _raw(cvr__imputation=torch.log(torch.expm1(loss)).tolist())

    torch.testing.assert_close(_risk("dr", raw, labels=labels), loss.mean())


def test_in_a_longer_funnel_the_propensity_is_that_of_all_earlier_stages():
    model = world.model("escm2", (CTR, CVR, PAID), clip=0.01)
    raw = world.logits(ctr=[0.3, -1.0, 2.0, 0.5], cvr=[1.5, 0.2, -0.7, 0.1], paid=[0.0] * 4)

    both = torch.sigmoid(raw["ctr"][:, 0]) * torch.sigmoid(raw["cvr"][:, 0])

    torch.testing.assert_close(model.propensity("paid", raw), both.detach())


def test_a_conversion_that_is_not_known_yet_counts_nowhere():
    model = world.model("escm2", variant="dr")
    raw = _raw(cvr__imputation=[0.1, 2.0, -1.0, 0.4])

    world.losses(model, raw, world.labels(cvr=[NAN, 0.0, 1.0, NAN]))["cvr"].backward()

    assert raw["cvr"].grad[3] == 0.0
    assert raw["cvr:imputation"].grad[3] == 0.0


def test_equal_propensities_are_worth_every_clicked_row_and_unequal_ones_fewer():
    model = world.model("escm2", clip=0.01)
    equal = world.logits(ctr=[0.0] * 4, cvr=[0.0] * 4)
    weights = [2.0, 2.0, 50.0]
    unequal = world.logits(ctr=[0.0, *(-math.log(w - 1) for w in weights)], cvr=[0.0] * 4)

    assert model.effective_sample_size(equal, world.labels())["cvr"] == pytest.approx(3.0)
    assert model.effective_sample_size(unequal, world.labels())["cvr"] == pytest.approx(
        sum(weights) ** 2 / sum(w**2 for w in weights), rel=1e-4
    )


def test_no_click_at_all_is_worth_no_row():
    model = world.model("escm2")

    assert model.effective_sample_size(_raw(), world.labels(ctr=[0.0] * 4)) == {"cvr": 0.0}


def test_the_imputing_network_is_not_in_the_exported_graph(tmp_path):
    sizes = {}
    for variant in ("ips", "dr"):
        model = world.model("escm2", (CTR, CVR, WATCH), variant=variant)
        names = [spec.name for spec in input_specs(world.schema())]
        path = tmp_path / f"{variant}.onnx"
        export_graph(ServingModule(model, list(model.task_specs.values()), names), world.schema(), path)
        graph = onnx.load(path).graph
        sizes[variant] = (len(graph.node), sum(math.prod(each.dims) for each in graph.initializer))

    assert [output.name for output in graph.output] == ["ctr", "cvr", "ctcvr", "watch_seconds", "log_watch"]
    assert sizes["dr"] == sizes["ips"]


def test_the_imputing_network_is_as_large_as_any_other():
    ips, dr = (world.model("escm2", (CTR, CVR, WATCH), variant=variant) for variant in ("ips", "dr"))

    assert world.parameter_count(ips.networks) == 3 * world.parameter_count(dr.imputations)
    assert world.parameter_count(dr) - world.parameter_count(ips) == world.parameter_count(dr.imputations)


def test_other_tasks_keep_their_own_loss():
    raw = _raw(watch=[1.0, 2.0, 3.0, 4.0])

    got = world.losses(world.model("escm2", (CTR, CVR, WATCH)), raw, world.labels())["watch"]

    torch.testing.assert_close(got, world.losses(world.model("esmm", (CTR, CVR, WATCH)), raw, world.labels())["watch"])


@pytest.mark.parametrize("options", [{"variant": "ipw"}, {"clip": 0.0}, {"lambda_c": 1.0}])
def test_options_it_does_not_have_are_refused(options):
    with pytest.raises(InvalidOption, match="variant, clip, counterfactual_weight, global_weight"):
        world.model("escm2", **options)
