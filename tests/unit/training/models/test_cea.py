"""Channel-expert attention, as we read it: squeeze-and-excitation a task over fields, experts and hidden units."""

import pytest
import torch

from tests.gated import affine
from tests.rankers import candidates_only
from tests.small_models import (
    CANDIDATE_FIELDS,
    DIM,
    HIDDEN,
    REQUEST_DIM,
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

REQUEST_COLUMNS = torch.tensor([DIM, DIM, DIM, DIM, 1])
CANDIDATE_COLUMNS = torch.tensor([DIM, DIM, 1])


def _attention(module, k, squeezed, weight=None, bias=None):
    """``a = 2 sigmoid(W2 relu(W1 s + e_k) + b2)`` of one task."""
    weight, bias = (module.first.weight, module.first.bias) if weight is None else (weight, bias)
    hidden = torch.relu(squeezed @ weight.T + bias + module.task_TM[k])
    return 2 * torch.sigmoid(hidden @ module.second.weight.T + module.second.bias)


def _means(x, columns):
    return torch.stack([piece.mean(dim=1) for piece in x.split(columns.tolist(), dim=1)], dim=1)


def _expert(model, e, x):
    weight, bias = affine(model.experts.first)
    mine = slice(e * HIDDEN[0], (e + 1) * HIDDEN[0])
    h = torch.relu(x @ weight[mine].T + bias[mine])
    for layer in model.experts.deeper:
        h = torch.relu(h @ layer.weight_EIO[e] + layer.bias_E1O[e])
    return h


def _by_hand(model, inputs, *, fields=True, experts=True, units=True):
    """Each task alone, over gathered rows."""
    u, c = model.features(inputs)
    u, got, attentions = u[inputs.request_index], {}, model.attentions
    for k, task in enumerate(model.tasks):
        own_u, own_c = u, c
        if fields:
            s_u, s_c = _means(u, REQUEST_COLUMNS), _means(c, CANDIDATE_COLUMNS)
            a_u = _attention(attentions["request"], k, s_u)
            both = affine(attentions["candidate"].first)
            a_c = _attention(attentions["candidate"], k, torch.cat([s_u, s_c], dim=1), *both)
            own_u = u * a_u.repeat_interleave(REQUEST_COLUMNS, dim=1)
            own_c = c * a_c.repeat_interleave(CANDIDATE_COLUMNS, dim=1)
        x = torch.cat([own_u, own_c], dim=1)
        outs = torch.stack([_expert(model, e, x) for e in range(model.experts.count)], dim=1)
        if experts:
            outs = outs * _attention(attentions["expert"], k, outs.mean(dim=2)).unsqueeze(2)
        h = outs.mean(dim=1)
        got[task] = model.towers[task](h * _attention(attentions["hidden"], k, h) if units else h)
    return got


@pytest.mark.parametrize("fields", [True, False])
@pytest.mark.parametrize("experts", [True, False])
@pytest.mark.parametrize("units", [True, False])
def test_the_forward_pass_is_the_formulas_with_any_choice_of_places(fields, experts, units):
    options = {"fields": fields, "experts": experts, "units": units}
    model = scattered(make("cea", **options))
    inputs = small_inputs()

    got, wanted = model(inputs), _by_hand(model, inputs, **options)

    for task in model.tasks:
        torch.testing.assert_close(got[task], wanted[task], atol=1e-5, rtol=1e-4)


def test_it_starts_as_the_mean_of_the_experts_since_every_attention_is_one():
    model = make("cea").eval()
    inputs = small_inputs()

    got = model(inputs)

    for task, wanted in _by_hand(model, inputs, fields=False, experts=False, units=False).items():
        torch.testing.assert_close(got[task], wanted, atol=1e-6, rtol=1e-5)


def test_with_no_place_left_it_is_a_shared_bottom():
    model = make("cea", fields=False, experts=False, units=False)

    assert dense_count(model) == dense_count(make("shared_bottom"))
    assert model.experts.count == 1
    assert len(model.attentions) == 0


def test_tasks_weigh_the_same_row_differently_and_rows_are_weighed_differently():
    model = scattered(make("cea"))
    inputs = small_inputs()
    u, c = model.features(inputs)

    a_u, a_c = model.field_masks(u, c, inputs.request_index)

    assert a_u.shape == (3, len(TASKS), len(REQUEST_FIELDS))
    assert a_c.shape == (12, len(TASKS), len(CANDIDATE_FIELDS))
    assert not torch.allclose(a_c[:, 0], a_c[:, 1])
    assert not torch.allclose(a_c[0], a_c[1])
    assert ((a_u > 0) & (a_u < 2)).all()


def test_request_fields_are_weighed_by_the_request_alone_and_once_a_request():
    """Otherwise each candidate would need a request vector of its own."""
    model = scattered(make("cea"))
    inputs = small_inputs(requests=2, candidates=50)
    rows = []
    model.experts.first.request.register_forward_hook(lambda _module, given, _out: rows.append(given[0].shape))

    model(inputs)

    assert rows == [(2 * len(TASKS), REQUEST_DIM)]


def test_candidate_fields_are_weighed_by_both_sides():
    model = scattered(make("cea"))
    inputs, other = small_inputs(), small_inputs()
    other.request_ids[:] = 2

    weights = [model.field_masks(*model.features(each), each.request_index)[1] for each in (inputs, other)]

    assert not torch.allclose(weights[0], weights[1])


def test_attention_learns_although_it_starts_at_one():
    model = make("cea")
    inputs = small_inputs(requests=4, candidates=40)
    label = (inputs.candidate_ids[:, 1:2] % 2).float()

    def loss():
        return torch.nn.functional.binary_cross_entropy_with_logits(model(inputs)["like"], label)

    first = loss().item()

    assert last_loss(model, loss, steps=60) < first / 2
    for attention in model.attentions.values():
        assert attention.second.weight.abs().sum() > 0
        assert attention.task_TM.grad[1].abs().sum() > 0


def test_the_number_of_weights_is_that_of_the_formula():
    tasks, request, candidate = len(TASKS), len(REQUEST_FIELDS), len(CANDIDATE_FIELDS)

    def attention(reads, channels, units):
        return (reads + 1) * units + tasks * units + (units + 1) * channels

    experts = 3 * ((WIDTH + 1) * 6 + (6 + 1) * 5)
    towers = tasks * ((5 + 1) * TOWER[0] + TOWER[0] + 1)
    four = attention(request, request, 4) + attention(request + candidate, candidate, 4)
    four += attention(3, 3, 4) + attention(HIDDEN[-1], HIDDEN[-1], 4)
    assert dense_count(make("cea")) == experts + towers + four
    wide = attention(request, request, 5) + attention(request + candidate, candidate, 4)
    wide += attention(3, 3, 4) + attention(HIDDEN[-1], HIDDEN[-1], 5)
    assert dense_count(make("cea", reduction=1)) == experts + towers + wide


@pytest.mark.parametrize("places", [{}, {"fields": False}, {"experts": False}, {"units": False}])
def test_every_choice_of_places_exports(places, tmp_path):
    model = scattered(make("cea", tasks=with_duration(), **places))

    names = assert_exports(model, small_schema(), tmp_path / "model.onnx")

    assert names == ["click", "watch_seconds", "log_watch"]


def test_requests_may_have_no_fields(tmp_path):
    assert_exports(scattered(make("cea", schema=candidates_only())), candidates_only(), tmp_path / "model.onnx")
