"""STAR: a shared centre times a factor for each partition, over tasks or over the domains of a request field."""

import pytest
import torch
from torch.nn import functional as F

from tests.gated import joined
from tests.rankers import candidates_only, gradients
from tests.small_models import (
    CANDIDATE_DIM,
    REQUEST_DIM,
    TASKS,
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
from training.errors import InvalidOption
from training.models.star_layers import StarLinear

SCENE = 3
"""Column of ``scene`` in the request's ids: three of the history stand before it."""


def _layer(star, p, x):
    """One star layer of one partition, as the paper writes it."""
    weight = star.centre.weight * (1 + star.own.weight[p])
    return x @ weight + star.centre.bias + star.own.bias[p]


def _body(model, p, x):
    h = torch.relu(_layer(model.first.star, p, x))
    for layer in model.rest.layers:
        h = torch.relu(_layer(layer, p, h))
    return h


def _domain_tower(tower, p, h):
    for layer in tower[0].layers:
        h = torch.relu(_layer(layer, p, h))
    return _layer(tower[1], p, h)


def _normed(model, p, x, eps=1e-5):
    """Partitioned normalisation by moving statistics, as the paper writes it for serving."""
    parts = []
    for side, piece in zip(("request", "candidate"), x.split([REQUEST_DIM, CANDIDATE_DIM], dim=1), strict=True):
        norm = model.first.norms[side]
        mean, var = norm.mean_VP[:, p], norm.var_VP[:, p]
        gamma = norm.gamma_V if norm.own_gamma_PV is None else norm.gamma_V * (1 + norm.own_gamma_PV[p])
        beta = norm.beta_V if norm.own_beta_PV is None else norm.beta_V + norm.own_beta_PV[p]
        parts.append(gamma * (piece - mean) / torch.sqrt(var + eps) + beta)
    return torch.cat(parts, dim=1)


def _with_statistics(model, seed=2):
    """Moving statistics as after training."""
    torch.manual_seed(seed)
    for norm in model.first.norms.values():
        norm.count_P = torch.full_like(norm.count_P, 10.0)
        norm.mean_VP = torch.randn_like(norm.mean_VP)
        norm.var_VP = torch.rand_like(norm.var_VP) + 0.5
    return model


def _auxiliary(model, x):
    first, out = model.auxiliary["first"], model.auxiliary["out"]
    weight = torch.cat([first.request.weight, first.candidate.weight], dim=1)
    return out(torch.relu(x @ weight.T + first.request.bias))


def test_each_task_has_the_shared_weights_times_its_own_in_every_layer():
    model = scattered(make("star"))
    inputs = small_inputs()

    got = model(inputs)

    for p, task in enumerate(model.tasks):
        torch.testing.assert_close(got[task], model.towers[task](_body(model, p, joined(model.features, inputs))))
    assert min(raw.min() for raw in got.values()) < 0 < max(raw.max() for raw in got.values())


def test_tasks_read_inputs_that_are_normalised_alike_in_serving():
    model = _with_statistics(scattered(make("star", normalise=True)))
    inputs = small_inputs()

    got = model(inputs)

    x = _normed(model, 0, joined(model.features, inputs))
    torch.testing.assert_close(got["like"], model.towers["like"](_body(model, 1, x)))


def test_a_request_counts_in_the_statistics_as_often_as_it_has_candidates():
    """So the factored layout trains on what ordinary code sees, where each request is repeated for each candidate."""
    model = scattered(make("star", normalise=True)).train()
    inputs = small_inputs(requests=12, candidates=60)

    got = model(inputs)["click"]

    gamma = torch.cat([norm.gamma_V for norm in model.first.norms.values()])
    beta = torch.cat([norm.beta_V for norm in model.first.norms.values()])
    x = F.batch_norm(joined(model.features, inputs), None, None, gamma, beta, training=True)
    torch.testing.assert_close(got, model.towers["click"](_body(model, 0, x)), atol=1e-4, rtol=1e-4)


def test_a_candidate_gets_its_own_domains_network_and_no_other():
    model = _with_statistics(scattered(make("star", domain="scene")))
    inputs = small_inputs(requests=4, candidates=20)
    inputs.request_ids[:, SCENE] = torch.tensor([2, 3, 0, 3])

    got = model(inputs)

    x = joined(model.features, inputs)
    extra = _auxiliary(model, x)
    for row, partition in enumerate(torch.tensor([1, 2, 0, 2])[inputs.request_index].tolist()):
        one = slice(row, row + 1)
        h = _body(model, partition, _normed(model, partition, x[one]))
        for position, task in enumerate(model.tasks):
            wanted = _domain_tower(model.towers[task], partition, h) + extra[one, position : position + 1]
            torch.testing.assert_close(got[task][one], wanted, atol=1e-5, rtol=1e-4)


def test_missing_and_unknown_domains_share_one_partition_of_their_own():
    model = make("star", domain="scene")
    inputs = small_inputs(requests=6)
    inputs.request_ids[:, SCENE] = torch.tensor([0, 1, 2, 3, 99, -5])

    assert model.partition(inputs).tolist() == [0, 0, 1, 2, 2, 0]
    assert model.partitions == 3


def test_products_of_the_factors_start_as_large_as_a_plain_layers_weights():
    """Scenario-Wise-Rec draws both factors at random, and what they multiply to is too small to train on."""
    layer = StarLinear(3, 100, 50)

    with torch.no_grad():
        weight, bias = layer.combined()

    for p in range(3):
        assert torch.equal(weight[p], layer.centre.weight)
        assert torch.equal(bias[p, 0], layer.centre.bias)
    drawn_twice = weight[0] * torch.empty(100, 50).uniform_(-0.1, 0.1)
    assert float(weight.std()) == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert float(drawn_twice.std()) < float(weight.std()) / 10


def test_weight_decay_draws_a_partition_to_the_centre_and_not_to_zero():
    layer = StarLinear(2, 10, 10)
    torch.nn.init.normal_(layer.own.weight)
    optimiser = torch.optim.AdamW(layer.own.parameters(), lr=1.0, weight_decay=0.5)
    for _ in range(30):
        layer.own.weight.grad, layer.own.bias.grad = torch.zeros(2, 10, 10), torch.zeros(2, 10)
        optimiser.step()

    torch.testing.assert_close(layer.combined()[0][0], layer.centre.weight, atol=1e-6, rtol=0)


def test_a_domain_trains_the_centre_and_its_own_factors_and_leaves_the_others_alone():
    model = make("star", domain="scene").train()
    inputs = small_inputs(requests=10, candidates=40)
    inputs.request_ids[:, SCENE] = 2

    model(inputs)["click"].sum().backward()

    for star in (module for module in model.modules() if isinstance(module, StarLinear)):
        if star.centre.weight.grad is None:
            continue  # a tower of another task
        assert star.centre.weight.grad.abs().sum() > 0
        assert star.own.weight.grad[1].abs().sum() > 0
        assert star.own.weight.grad[[0, 2]].abs().sum() == 0


def test_a_task_trains_the_centre_and_its_own_factors_and_leaves_the_others_alone():
    model = make("star")

    model(small_inputs())["like"].sum().backward()

    own = model.first.star.own.weight.grad
    assert model.first.star.centre.weight.grad.abs().sum() > 0
    assert own[1].abs().sum() > 0
    assert own[[0, 2]].abs().sum() == 0


def test_a_domain_that_is_not_in_a_batch_gives_no_nan_and_keeps_its_statistics():
    """The Keras layer of the public STAR code takes the mean of no rows there."""
    model = _with_statistics(make("star", domain="scene")).train()
    before = [(norm.count_P.clone(), norm.mean_VP.clone(), norm.var_VP.clone()) for norm in model.first.norms.values()]
    inputs = small_inputs(requests=10, candidates=40)
    inputs.request_ids[:, SCENE] = 2

    raw = model(inputs)
    found = gradients(model, sum(value.sum() for value in raw.values()))

    assert all(torch.isfinite(value).all() for value in raw.values())
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    for norm, (count, mean, var) in zip(model.first.norms.values(), before, strict=True):
        for got, kept in ((norm.count_P, count), (norm.mean_VP.T, mean.T), (norm.var_VP.T, var.T)):
            assert torch.equal(got[[0, 2]], kept[[0, 2]])
            assert not torch.equal(got[1], kept[1])


def test_a_score_does_not_depend_on_who_else_is_in_the_batch():
    """Scenario-Wise-Rec normalises by the batch in serving too."""
    model = _with_statistics(scattered(make("star", domain="scene")))
    inputs = small_inputs(requests=2, candidates=10)
    other = small_inputs(requests=2, candidates=10, seed=5)
    other.request_ids[0], other.request_index[:4] = inputs.request_ids[0], 0
    other.request_dense[0] = inputs.request_dense[0]
    other.candidate_ids[:4], other.candidate_dense[:4] = inputs.candidate_ids[:4], inputs.candidate_dense[:4]
    inputs.request_index[:4] = 0

    torch.testing.assert_close(model(inputs)["like"][:4], model(other)["like"][:4])


def test_the_auxiliary_network_adds_its_output_to_the_logit():
    model = scattered(make("star", domain="scene"))
    inputs = small_inputs()
    with torch.no_grad():
        for tower in model.towers.values():
            for parameter in tower[1].parameters():
                parameter.zero_()

    got = model(inputs)

    extra = _auxiliary(model, joined(model.features, inputs))
    torch.testing.assert_close(torch.cat([got[task] for task in model.tasks], dim=1), extra)


def test_a_domain_without_data_of_its_own_is_served_by_the_centre():
    """Partition 0 has none where every request names its domain; a missing one must not fall on raw weights."""
    torch.manual_seed(0)
    model = make("star", domain="scene", auxiliary_hidden=0).train()
    for step in range(5):
        inputs = small_inputs(requests=20, candidates=100, seed=step)
        inputs.request_ids[:, SCENE] = torch.randint(2, 4, (20,))
        model(inputs)
    inputs = small_inputs()
    inputs.request_ids[:, SCENE] = 0

    got = model.eval()(inputs)["click"]

    moments = {side: norm.moving() for side, norm in model.first.norms.items()}
    mean = torch.cat([mean[:, 0] for mean, _ in moments.values()])
    var = torch.cat([var[:, 0] for _, var in moments.values()])
    x = (joined(model.features, inputs) - mean) / torch.sqrt(var + 1e-5)
    h = torch.relu(x @ model.first.star.centre.weight + model.first.star.centre.bias)
    for layer in (*model.rest.layers, *model.towers["click"][0].layers):
        h = torch.relu(h @ layer.centre.weight + layer.centre.bias)
    last = model.towers["click"][1].centre
    torch.testing.assert_close(got, h @ last.weight + last.bias, atol=1e-5, rtol=1e-4)
    assert (var > 0).all()


def test_the_number_of_weights_is_that_of_the_formula():
    tasks, partitions, auxiliary = len(TASKS), 3, 7

    def star(p, a, b):
        return (1 + p) * (a * b + b)

    by_task = sum(star(tasks, a, b) for a, b in ((WIDTH, 6), (6, 5), (5, 3)))
    assert dense_count(make("star", normalise=True)) == by_task + 2 * WIDTH + tasks * (3 + 1)
    assert dense_count(make("star")) == by_task + tasks * (3 + 1)
    body = star(partitions, WIDTH, 6) + star(partitions, 6, 5)
    towers = tasks * (star(partitions, 5, 3) + star(partitions, 3, 1))
    extra = (WIDTH + 1) * auxiliary + (auxiliary + 1) * tasks
    model = make("star", domain="scene", auxiliary_hidden=auxiliary)
    assert dense_count(model) == body + towers + 2 * (1 + partitions) * WIDTH + extra


def test_gradients_are_balanced_on_the_centre_alone():
    model = make("star")
    shared = {id(parameter) for parameter in model.shared_parameters()}

    assert id(model.first.star.centre.weight) in shared
    assert id(model.first.star.own.weight) not in shared
    assert not {id(parameter) for parameter in model.towers.parameters()} & shared


@pytest.mark.parametrize("options", [{"domain": "scene"}, {"normalise": True}, {"domain": "scene", "normalise": False}])
def test_every_variant_exports(options, tmp_path):
    model = _with_statistics(scattered(make("star", tasks=with_duration(), **options)))

    names = assert_exports(model, small_schema(), tmp_path / "model.onnx")

    assert names == ["click", "watch_seconds", "log_watch"]


def test_tasks_can_be_the_partitions_where_requests_have_no_fields(tmp_path):
    assert_exports(scattered(make("star", schema=candidates_only())), candidates_only(), tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["nowhere", "item", "user", "history", "activity"])
def test_a_domain_that_is_no_categorical_request_field_is_refused_with_those_that_are(name):
    with pytest.raises(InvalidOption, match="known: scene, device"):
        make("star", domain=name)


def test_a_domain_of_too_many_values_is_refused():
    document = small_schema().model_dump()
    document["vocabularies"]["scene"] = tuple(f"s{n}" for n in range(65))
    schema = type(small_schema()).model_validate(document)

    with pytest.raises(InvalidOption, match="65 values"):
        make("star", schema=schema, domain="scene")


def test_domains_that_contradict_each_other_are_both_learnt():
    """The same item is liked in one scene and not in the other: no level added to the logit can say so."""
    model = make("star", tasks=TASKS[:1], domain="scene", auxiliary_hidden=0)
    inputs = small_inputs(requests=40, candidates=200)

    def loss():
        inputs.request_ids[:, SCENE] = torch.randint(2, 4, (40,))
        inputs.candidate_ids[:, 1] = torch.randint(2, 5, (200,))
        is_home = inputs.request_ids[inputs.request_index, SCENE] == 2
        label = (is_home == (inputs.candidate_ids[:, 1] == 3)).float()
        return F.binary_cross_entropy_with_logits(model(inputs)["click"][:, 0], label)

    assert last_loss(model, loss, steps=100) < 0.1
