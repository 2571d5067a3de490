"""PEPNet: gates that scale embeddings and hidden units, start at 1, and train only what they are meant to."""

import pytest
import torch

from tests.gated import affine
from tests.rankers import candidates_only, gradients
from tests.small_models import (
    CANDIDATE_DIM,
    DIM,
    HIDDEN,
    REQUEST_DIM,
    TASKS,
    TOWER,
    WIDTH,
    assert_exports,
    dense_count,
    make,
    scattered,
    small_inputs,
    small_schema,
    with_duration,
)
from training.errors import InvalidOption

FIELDS = {"domain_fields": ("scene",), "prior_fields": ("user", "item")}
SCENE, USER, ITEM = slice(DIM, 2 * DIM), slice(2 * DIM, 3 * DIM), slice(0, DIM)
"""Columns of the request's vector for the first two, of the candidate's for the third."""


def _gate(unit, x, weight=None, bias=None):
    weight, bias = (unit.first.weight, unit.first.bias) if weight is None else (weight, bias)
    return 2 * torch.sigmoid(unit.out(torch.relu(x @ weight.T + bias)))


def _by_hand(model, inputs):
    """The paper's equations over gathered rows: nothing factored, no task beside another."""
    u, c = model.features(inputs)
    index, tasks = inputs.request_index, len(model.tasks)
    read = torch.cat([u[:, SCENE], u], dim=1)
    gated_u = u * _gate(model.epnet.request, read)
    gated_c = c * _gate(model.epnet.candidate, torch.cat([read[index], c], dim=1), *affine(model.epnet.candidate.first))
    prior = torch.cat([u[index][:, USER], gated_u[index], c[:, ITEM], gated_c], dim=1)
    scales = [_gate(unit, prior, *affine(unit.first)) for unit in model.ppnet.layers]
    weight, bias = affine(model.first)
    got = {}
    for k, task in enumerate(model.tasks):
        h = torch.cat([gated_u[index], gated_c], dim=1)
        for layer, scale in enumerate(scales):
            width = scale.shape[1] // tasks
            mine = slice(k * width, (k + 1) * width)
            if layer == 0:
                h = h @ weight[mine].T + bias[mine]
            else:
                stacked = model.deeper[layer - 1]
                h = h @ stacked.weight_EIO[k] + stacked.bias_E1O[k]
            h = torch.relu(h) * scale[:, mine]
        got[task] = model.towers[task](h)
    return got


def _tables(found):
    """Which tables' rows the gradients of a backward pass reach."""
    grad, start, reached = found["features.embedding.weight.weight"], 0, set()
    schema = small_schema()
    for table in schema.tables():
        rows = schema.table_size(table)
        if grad[start : start + rows].abs().sum() > 0:
            reached.add(table)
        start += rows
    return reached


def test_the_forward_pass_is_the_papers():
    model = scattered(make("pepnet", **FIELDS))
    inputs = small_inputs()

    got, wanted = model(inputs), _by_hand(model, inputs)

    for task in model.tasks:
        torch.testing.assert_close(got[task], wanted[task], atol=1e-5, rtol=1e-4)


def test_every_gate_starts_at_exactly_one_so_it_starts_as_one_network_a_task():
    model = make("pepnet")
    inputs = small_inputs()
    u, c = model.features(inputs)

    gated_u, gated_c = model.epnet(u, c, inputs.request_index)

    assert torch.equal(gated_u, u)
    assert torch.equal(gated_c, c)
    for scale in model.ppnet(u, c, u, c, inputs.request_index):
        assert torch.equal(scale, torch.ones_like(scale))


def test_the_embedding_gates_train_the_domains_vectors_and_no_others():
    model = scattered(make("pepnet", **FIELDS))
    inputs = small_inputs()
    u, c = model.features(inputs)
    read_u, read_c = model.epnet.pickers(u, c, u, c)

    gates = model.epnet.request(read_u).sum() + model.epnet.candidate(read_u, read_c, inputs.request_index).sum()

    assert _tables(gradients(model, gates)) == {"scene"}


def test_the_unit_gates_train_the_priors_vectors_and_neither_the_others_nor_the_embedding_gates():
    model = scattered(make("pepnet", **FIELDS))
    inputs = small_inputs()
    u, c = model.features(inputs)
    gated = model.epnet(u, c, inputs.request_index)

    found = gradients(model, sum(scale.sum() for scale in model.ppnet(u, c, *gated, inputs.request_index)))

    assert _tables(found) == {"user", "item"}
    assert all((gradient == 0).all() for name, gradient in found.items() if name.startswith("epnet"))


def test_the_towers_train_every_vector():
    """Scenario-Wise-Rec's PPNet feeds its towers the detached vectors: most of its table never learns."""
    model = make("pepnet")

    found = gradients(model, model(small_inputs())["like"].sum())

    assert _tables(found) == {"item", "scene", "user", "device", "topic"}


def test_a_task_scales_its_own_units_and_trains_no_other_tasks_network():
    model = make("pepnet")

    model(small_inputs())["like"].sum().backward()

    first = model.first.request.weight.grad.reshape(len(TASKS), HIDDEN[0], -1).abs().sum(dim=(1, 2))
    gate = model.ppnet.layers[0].out.bias.grad.reshape(len(TASKS), HIDDEN[0]).abs().sum(dim=1)
    for each in (first, gate):
        assert each[1] > 0
        assert each[[0, 2]].abs().sum() == 0


def test_a_requests_embedding_gate_is_computed_once_a_request():
    model = make("pepnet")
    rows = []
    model.epnet.request.register_forward_hook(lambda _module, _inputs, out: rows.append(out.shape))

    model(small_inputs(requests=2, candidates=50))

    assert rows == [(2, REQUEST_DIM)]


def test_small_request_categories_are_domains_and_the_largest_ids_are_the_prior():
    model = make("pepnet")

    assert model.domain_fields == ("scene", "device")
    assert model.prior_fields == ("user", "item")


def test_gates_can_read_no_field_with_a_gradient():
    model = scattered(make("pepnet", domain_fields=(), prior_fields=()))
    inputs = small_inputs()
    u, c = model.features(inputs)

    found = gradients(model, sum(each.sum() for each in model.ppnet(u, c, u, c, inputs.request_index)))

    assert _tables(found) == set()


def test_the_number_of_weights_is_that_of_the_formula():
    tasks, gate = len(TASKS), 7
    model = make("pepnet", gate_hidden=gate, **FIELDS)
    epnet = (DIM + REQUEST_DIM + 1) * gate + (gate + 1) * REQUEST_DIM
    epnet += (DIM + WIDTH + 1) * gate + (gate + 1) * CANDIDATE_DIM
    widths = (*HIDDEN, *TOWER)
    ppnet = sum((2 * DIM + WIDTH + 1) * gate + (gate + 1) * tasks * width for width in widths)
    networks = tasks * ((WIDTH + 1) * 6 + (6 + 1) * 5 + (5 + 1) * 3 + (3 + 1))

    assert dense_count(model) == epnet + ppnet + networks


def test_gradients_are_balanced_on_the_gates_that_tasks_share():
    model = make("pepnet")
    shared = {id(parameter) for parameter in model.shared_parameters()}

    assert id(model.epnet.candidate.out.weight) in shared
    assert id(model.first.candidate.weight) not in shared


def test_a_field_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(InvalidOption, match="known: history, scene"):
        make("pepnet", prior_fields=("author",))


@pytest.mark.parametrize("options", [{}, {"domain_fields": ("topic", "activity"), "prior_fields": ("history",)}])
def test_every_choice_of_fields_exports(options, tmp_path):
    model = scattered(make("pepnet", tasks=with_duration(), **options))

    assert assert_exports(model, small_schema(), tmp_path / "model.onnx") == ["click", "watch_seconds", "log_watch"]


def test_requests_may_have_no_fields(tmp_path):
    assert_exports(scattered(make("pepnet", schema=candidates_only())), candidates_only(), tmp_path / "model.onnx")
