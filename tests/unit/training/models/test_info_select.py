"""Information selection: what each task takes of fields, experts and hidden units, and what can be read from it."""

import math

import pytest
import torch

from tests.gated import affine, joined
from tests.rankers import candidates_only
from tests.small_models import (
    CANDIDATE_FIELDS,
    DIM,
    HIDDEN,
    REQUEST_FIELDS,
    TASKS,
    TOWER,
    WIDTH,
    assert_exports,
    dense_count,
    last_loss,
    make,
    scattered,
    small_inputs,
    small_schema,
    with_duration,
)
from training.config import TrainConfig
from training.data.simulator import prepare
from training.errors import InvalidOption
from training.models.base import ModelConfig
from training.models.selection import TaskInfoSelect
from training.pipeline import train_and_publish

KINDS = ("softmax", "sigmoid2", "hard_concrete")
LEVELS = ("field", "expert", "hidden", "all")
FIELDS = (*REQUEST_FIELDS, *CANDIDATE_FIELDS)
COLUMNS = [DIM, DIM, DIM, DIM, 1, DIM, DIM, 1]


def _expert(model, e, x):
    weight, bias = affine(model.experts.first)
    mine = slice(e * HIDDEN[0], (e + 1) * HIDDEN[0])
    h = torch.relu(x @ weight[mine].T + bias[mine])
    for layer in model.experts.deeper:
        h = torch.relu(h @ layer.weight_EIO[e] + layer.bias_E1O[e])
    return h


def _by_hand(model, inputs, masks):
    """Each task alone, over gathered rows, with the given masks: T rows of fields, experts and units."""
    fields, experts, units = masks
    x, got = joined(model.features, inputs), {}
    for k, task in enumerate(model.tasks):
        mine = x * fields[k].repeat_interleave(torch.tensor(COLUMNS))
        outs = [experts[k, e] * _expert(model, e, mine) for e in range(experts.shape[1])]
        got[task] = model.towers[task](units[k] * torch.stack(outs).mean(dim=0))
    return got


def _ones(model):
    tasks = len(model.tasks)
    return torch.ones(tasks, len(FIELDS)), torch.ones(tasks, model.experts.count), torch.ones(tasks, HIDDEN[-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_forward_pass_is_the_formulas(level, kind):
    model = scattered(make("info_select", level=level, kind=kind))
    inputs = small_inputs()
    got, given = model(inputs), model.masks()

    masks = [given.get(each, ones) for each, ones in zip(("field", "expert", "hidden"), _ones(model), strict=True)]

    assert set(given) == ({"field", "expert", "hidden"} if level == "all" else {level})
    for task, wanted in _by_hand(model, inputs, masks).items():
        torch.testing.assert_close(got[task], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_by_letting_everything_through(kind):
    model = make("info_select", kind=kind).eval()
    inputs = small_inputs()

    got = model(inputs)

    assert all(torch.equal(mask, torch.ones_like(mask)) for mask in model.masks().values())
    for task, wanted in _by_hand(model, inputs, _ones(model)).items():
        torch.testing.assert_close(got[task], wanted, atol=1e-5, rtol=1e-4)


def test_a_softmax_shares_out_a_fixed_sum_and_a_sigmoid_goes_from_nothing_to_double():
    softmax, sigmoid = TaskInfoSelect(2, 3, "softmax"), TaskInfoSelect(2, 3, "sigmoid2")
    logits = torch.tensor([[1.0, 2.0, -3.0], [50.0, -50.0, 0.0]])
    for select in (softmax, sigmoid):
        select.logits_TK.data = logits

    torch.testing.assert_close(softmax(), 3 * torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True))
    torch.testing.assert_close(sigmoid()[1], torch.tensor([2.0, 0.0, 1.0]))


def test_a_closed_field_changes_nothing_for_its_task_and_still_counts_for_others():
    model = make("info_select", level="field", kind="hard_concrete").eval()
    with torch.no_grad():
        model.selects["field"].switches.log_alpha_OI[1, FIELDS.index("topic")] = -9.0
    inputs, other = small_inputs(), small_inputs()
    other.candidate_ids[:, 1] = inputs.candidate_ids[:, 1].clamp(0, 3) + 1

    before, after = model(inputs), model(other)

    assert torch.equal(before["like"], after["like"])
    assert not torch.allclose(before["click"], after["click"])
    assert model.selected_fields()["like"]["topic"] == 0.0
    assert model.selected_fields()["click"]["topic"] == 1.0


def test_switches_are_drawn_anew_in_training_and_constant_in_serving():
    torch.manual_seed(0)
    select = TaskInfoSelect(2, 500, "hard_concrete")

    assert not torch.equal(select.train()(), select())
    assert torch.equal(select.eval()(), torch.ones(2, 500))
    assert (select.train()() < 1).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_trains_its_own_masks_alone(kind):
    model = make("info_select", kind=kind)
    for weights in model.selects.parameters():
        torch.nn.init.zeros_(weights)  # half open: a draw of an open switch has a gradient now and then only

    model(small_inputs())["like"].sum().backward()

    for select in model.selects.values():
        (weights,) = select.parameters()
        assert weights.grad[1].abs().sum() > 0
        assert weights.grad[[0, 2]].abs().sum() == 0


def test_a_requests_fields_are_masked_once_a_request_and_task():
    model = make("info_select", level="field")
    rows = []
    model.experts.first.request.register_forward_hook(lambda _module, inputs, _out: rows.append(inputs[0].shape[0]))

    model(small_inputs(requests=2, candidates=50))

    assert rows == [2 * len(TASKS)]


def test_what_each_task_takes_of_each_field_can_be_reported():
    model = make("info_select", level="all").train()
    with torch.no_grad():
        model.selects["field"].logits_TK[0, FIELDS.index("user")] = 3.0

    selected = model.selected_fields()

    assert tuple(selected) == model.tasks
    assert tuple(selected["click"]) == FIELDS
    assert selected["click"]["user"] == pytest.approx(2 / (1 + 2.718281828**-3))
    assert model.training, "asking must not end the training"
    assert make("info_select", level="hidden").selected_fields() == {}


def test_a_bundles_report_has_the_masks_of_every_level(tmp_path):
    dataset = prepare(tmp_path / "data", rows=600, seed=1)
    sizes = ModelConfig(embedding_dim=4, hidden=(8,), num_experts=2)
    config = TrainConfig(data="simulator", arch="info_select", epochs=1, model=sizes)

    selection = train_and_publish(dataset, config, tmp_path / "models", name="m").report()["selection"]

    assert selection["field"].keys() == selection["hidden"].keys() == {"ctr", "like", "duration"}
    assert {"user", "item", "price"} <= selection["field"]["like"].keys()
    assert [len(selection[level]["ctr"]) for level in ("expert", "hidden")] == [2, 8]
    assert any(value != 1.0 for value in selection["field"]["ctr"].values()), "the masks of a trained model"


def test_open_switches_cost_what_the_option_says_and_masks_that_cannot_close_cost_nothing():
    model = make("info_select", level="expert", kind="hard_concrete", l0=0.5)
    open_share = 1 / (1 + math.exp(-(3.0 - 2 / 3 * math.log(0.1 / 1.1))))

    penalty = model.penalty({})
    penalty.backward()

    assert penalty.item() == pytest.approx(0.5 * len(TASKS) * 3 * open_share, rel=1e-5)
    assert (model.selects["expert"].switches.log_alpha_OI.grad > 0).all()
    assert make("info_select", kind="hard_concrete", l0=0.0).penalty({}) is None
    assert make("info_select", kind="sigmoid2").penalty({}) is None


def test_a_price_on_switches_closes_those_that_no_loss_needs():
    torch.manual_seed(0)
    model = make("info_select", level="field", kind="hard_concrete", l0=0.05, tasks=TASKS[:1])
    inputs = small_inputs(requests=20, candidates=200)

    def loss():
        inputs.candidate_ids[:, 1] = torch.randint(2, 5, (200,))
        label = (inputs.candidate_ids[:, 1:2] == 3).float()
        return torch.nn.functional.binary_cross_entropy_with_logits(model(inputs)["click"], label) + model.penalty({})

    last_loss(model, loss, steps=200)

    selected = model.selected_fields()["click"]
    assert selected["topic"] == 1.0
    assert [name for name, value in selected.items() if value > 0] == ["topic"]


def test_the_number_of_weights_is_that_of_the_formula():
    tasks = len(TASKS)
    expert = (WIDTH + 1) * 6 + (6 + 1) * 5
    towers = tasks * ((5 + 1) * TOWER[0] + TOWER[0] + 1)
    counts = {level: dense_count(make("info_select", level=level)) for level in LEVELS}

    assert counts["field"] == expert + towers + tasks * len(FIELDS)
    assert counts["expert"] == 3 * expert + towers + tasks * 3
    assert counts["hidden"] == expert + towers + tasks * HIDDEN[-1]
    assert counts["all"] == 3 * expert + towers + tasks * (len(FIELDS) + 3 + HIDDEN[-1])


def test_switches_are_stepped_faster_and_never_decayed():
    (switches,) = make("info_select", kind="hard_concrete").parameter_groups()
    (sigmoids,) = make("info_select", kind="sigmoid2").parameter_groups()

    assert not switches.has_decay
    assert sigmoids.has_decay, "decay draws these to 1, where they let everything through"
    assert switches.learning_rate_factor == 10.0


def test_gradients_are_balanced_on_the_experts_alone():
    model = make("info_select")

    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in model.experts.parameters()}


@pytest.mark.parametrize(("level", "kind"), [("expert", "softmax"), ("hidden", "sigmoid2"), ("all", "hard_concrete")])
def test_every_variant_exports(level, kind, tmp_path):
    model = scattered(make("info_select", tasks=with_duration(), level=level, kind=kind))

    names = assert_exports(model, small_schema(), tmp_path / "model.onnx")

    assert names == ["click", "watch_seconds", "log_watch"]


def test_requests_may_have_no_fields(tmp_path):
    assert_exports(scattered(make("info_select", schema=candidates_only())), candidates_only(), tmp_path / "model.onnx")


def test_an_unknown_level_is_refused():
    with pytest.raises(InvalidOption, match="level"):
        make("info_select", level="layer")
