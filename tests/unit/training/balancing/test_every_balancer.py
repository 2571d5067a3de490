"""What holds for every balancer."""

import pytest
import torch

from tests.unit.training.balancing.toys import GRADIENT_METHODS, IDS, Toy
from training.balancing.base import balancers
from training.errors import InvalidOption

NAMES = list(balancers())
LOSS_METHODS = [name for name in NAMES if name not in GRADIENT_METHODS]


def _close(got, wanted, rtol=1e-4, atol=1e-6):
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        if gradient is None:
            assert got[name] is None, name
        else:
            assert torch.allclose(got[name], gradient, rtol=rtol, atol=atol), (name, got[name], gradient)


def _used(name, toy, **given):
    """A balancer that has seen a few steps and an epoch's end, so that its weights are its own."""
    balancer = toy.balancer(name, **given)
    balancer.start_epoch(None)
    for epoch in range(3):
        for _ in range(3):
            toy.step(balancer)
        means = dict(zip("abc", (toy.losses() * (1 + epoch)).tolist(), strict=False))
        balancer.start_epoch(means)
    balancer.statistics()
    return balancer


@pytest.mark.parametrize("name", NAMES)
def test_with_one_task_it_is_the_static_sum(name):
    toy = Toy(scales=(2.0,))
    wanted = toy.gradients(toy.balancer("static", weights={"a": 3.0}))

    got = toy.gradients(toy.balancer(name, weights={"a": 3.0}))

    _close(got, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_tasks_that_agree_take_the_static_step_so_that_a_learning_rate_keeps_its_meaning(name):
    toy = Toy(scales=(1.0, 1.0))
    toy.targets[1] = toy.targets[0]
    with torch.no_grad():
        for parameter in toy.private.parameters():
            parameter.zero_()
        toy.towers[1].load_state_dict(toy.towers[0].state_dict())
    toy.private.requires_grad_(False)
    shared = [f"shared.{each}" for each in ("weight", "bias")] + ["table.weight"]
    toy.shared_parameters = lambda: list(toy.shared.parameters())
    wanted = toy.gradients(toy.balancer("static"))

    got = toy.gradients(toy.balancer(name))

    _close({each: got[each] for each in shared}, {each: wanted[each] for each in shared})


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_embedding_tables_and_towers_get_the_plain_weighted_sum(name):
    """TorchEasyRec's PE-MTL flattens the gradients of all parameters, tables included: T times the whole model."""
    toy = Toy()
    balancer = _used(name, toy, weights={"b": 0.5})
    wanted = toy.gradients(toy.balancer("static", weights={"b": 0.5}))

    got = toy.gradients(balancer)

    rest = [each for each in wanted if not toy.is_shared(each)]
    _close({each: got[each] for each in rest}, {each: wanted[each] for each in rest}, rtol=0, atol=0)
    assert not torch.allclose(got["shared.weight"], wanted["shared.weight"], rtol=1e-3)


@pytest.mark.parametrize("name", LOSS_METHODS)
def test_weights_on_losses_hold_for_every_parameter_and_are_the_ones_reported(name):
    toy = Toy()
    balancer = _used(name, toy, weights={"b": 0.5})

    got = toy.gradients(balancer)

    reported = balancer.statistics()
    weights = {task: reported[f"weight/{task}"] for task in "abc"}
    _close(got, toy.gradients(toy.balancer("static", weights=weights)))


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_the_weights_reported_are_the_ones_of_the_shared_gradient(name):
    toy = Toy()
    balancer = _used(name, toy, weights={"b": 0.5})

    got = toy.gradients(balancer)

    reported = balancer.statistics()
    weights = {task: reported[f"weight/{task}"] for task in "abc"}
    wanted = toy.gradients(toy.balancer("static", weights=weights))
    shared = [each for each in wanted if toy.is_shared(each)]
    _close({each: got[each] for each in shared}, {each: wanted[each] for each in shared}, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rlw"])
def test_a_batch_without_a_tasks_label_is_as_if_there_were_no_such_task(name):
    toy = Toy()
    two = Toy(scales=toy.scales[:2])
    two.load_state_dict({key: value for key, value in toy.state_dict().items() if key in two.state_dict()})
    two.targets = toy.targets[:2]
    wanted = two.gradients(two.balancer(name))

    got = toy.gradients(toy.balancer(name), missing=(2,))

    assert torch.count_nonzero(got.pop("towers.2.weight")) == torch.count_nonzero(got.pop("towers.2.bias")) == 0
    _close(got, wanted, rtol=1e-3)


@pytest.mark.parametrize("missing", [(2,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_missing_labels_never_make_a_nan(name, missing):
    toy = Toy()
    balancer = toy.balancer(name)

    for turn in range(6):
        toy.step(balancer, missing=missing if turn % 2 == 0 else ())

    assert all(torch.isfinite(parameter).all() for parameter in toy.parameters())
    assert all(abs(value) < 1e4 for value in balancer.statistics().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_penalty_is_added_once_and_is_not_balanced(name):
    fresh, again = Toy(), Toy()
    plain = fresh.gradients(fresh.balancer(name))
    penalty = sum((parameter**2).sum() for parameter in [again.shared.weight, again.towers[0].weight])

    got = again.gradients(again.balancer(name), penalty=penalty)

    for each in ("shared.weight", "towers.0.weight"):
        plain[each] = plain[each] + 2 * dict(again.named_parameters())[each].detach()
    _close(got, plain)


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_that_no_task_reaches_gets_no_gradient(name):
    toy = Toy()

    assert toy.gradients(toy.balancer(name))["unused"] is None


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_run_and_the_global_generator_is_left_alone(name):
    runs = []
    for _ in range(2):
        toy = Toy()
        balancer = toy.balancer(name, seed=7)
        before = torch.get_rng_state()
        for _ in range(5):
            toy.step(balancer)
        assert torch.equal(torch.get_rng_state(), before)
        runs.append(toy.state_dict())

    for key in runs[0]:
        assert torch.equal(runs[0][key], runs[1][key])


def test_another_seed_draws_other_weights():
    one, other = (Toy().balancer("rlw", seed=seed).factors(torch.ones(3)) for seed in (1, 2))

    assert not torch.allclose(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_zero_switches_a_task_off(name):
    toy = Toy()
    balancer = _used(name, toy, weights={"b": 0.0})

    got = toy.gradients(balancer)

    assert torch.count_nonzero(got["towers.1.weight"]) == 0
    assert all(torch.isfinite(each).all() for each in got.values() if each is not None)
    with torch.no_grad():
        toy.towers[1].weight.add_(1.0)  # changes the loss of b alone, and so nothing that a and c see
    if name in GRADIENT_METHODS and name not in ("gradvac", "pcgrad"):
        _close(toy.gradients(balancer), got, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scales", [(1e4, 1e4, 1e4), (1e-4, 1e-4, 1e-4), (1e-6, 1.0, 1e4)])
def test_losses_of_any_size_give_finite_gradients(name, scales):
    """nash-mtl#13: losses in the hundreds stop the authors' code from learning."""
    toy = Toy(scales=scales)

    got = toy.gradients(toy.balancer(name))

    assert all(torch.isfinite(each).all() for each in got.values() if each is not None)
    assert torch.count_nonzero(got["shared.weight"]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_shares_nothing_trains_on_the_weighted_sum(name):
    toy = Toy()
    toy.shared_parameters = list
    balancer = toy.balancer(name)

    got = toy.gradients(balancer)

    reported = balancer.statistics()
    weights = {task: reported[f"weight/{task}"] for task in "abc"}
    _close(got, toy.gradients(toy.balancer("static", weights=weights)))


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_cosines_are_reported_for_pairs_that_both_have_labels(name):
    toy = Toy()
    balancer = toy.balancer(name)

    toy.gradients(balancer, missing=(2,))

    reported = balancer.statistics()
    assert -1 <= reported["cosine/a/b"] <= 1
    assert "cosine/a/c" not in reported
    assert "weight/c" not in reported


@pytest.mark.parametrize("name", ["famo", "gradnorm", "gradvac", "magnitude", "uncertainty"])
def test_what_is_remembered_of_a_task_does_not_move_in_batches_without_its_labels(name):
    """Momentum, running means and weight decay would all move it."""
    learnt = {"famo": "logits_T", "gradnorm": "factors_T", "magnitude": "_sums_T", "uncertainty": "log_variance_T"}
    toy = Toy()
    balancer = toy.balancer(name)
    adam = torch.optim.Adam(balancer.parameters() or [torch.zeros(1, requires_grad=True)], lr=0.1)

    def step(missing):
        toy.gradients(balancer, missing=missing)
        adam.step()
        balancer.after_step(lambda: toy.losses(missing) * torch.tensor([0.9, 0.5, 0.8]))
        return torch.as_tensor(getattr(balancer, learnt.get(name, "targets_TT"))).detach().clone()

    for _ in range(3):
        before = step(())

    after = step((2,))

    assert torch.equal(after[2], before[2])
    assert not torch.equal(after[0], before[0])


def test_statistics_are_means_since_they_were_last_read():
    toy = Toy()
    balancer = toy.balancer("rlw")
    drawn = toy.balancer("rlw").factors(torch.ones(3))

    toy.gradients(balancer)
    toy.gradients(balancer)
    first = balancer.statistics()
    toy.gradients(balancer)
    second = balancer.statistics()

    assert first["weight/a"] != pytest.approx(drawn[0].item())
    assert sum(first[f"weight/{task}"] for task in "abc") == pytest.approx(3.0)
    assert second["weight/a"] != pytest.approx(first["weight/a"])
    assert balancer.statistics() == {}


def test_a_sparse_table_gets_a_sparse_gradient():
    toy = Toy()

    toy.gradients(toy.balancer("mgda"))

    assert toy.table.weight.grad.is_sparse
    assert set(toy.table.weight.grad.coalesce().indices()[0].tolist()) == set(IDS.tolist())


def test_an_unknown_balancer_names_the_known_ones():
    with pytest.raises(InvalidOption, match="mgda"):
        Toy().balancer("magda")


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(InvalidOption, match="its options are: c"):
        Toy().balancer("cagrad", options={"radius": 0.5})


def test_a_weight_for_a_task_that_is_not_there_is_refused():
    with pytest.raises(InvalidOption, match="no task 'liek' to weigh; tasks: a, b, c"):
        Toy().balancer("static", weights={"liek": 2.0})
