"""What every architecture keeps, whatever its paper: a new one is held to it the moment it is registered."""

from dataclasses import replace

import pytest
import torch

from tests.every_kind import every_kind_schema
from tests.rankers import both_sides, candidates_only, gradients, shaken, some_inputs, some_labels, tiny
from training.inputs import unfactored
from training.losses import mean_loss
from training.models.registry import architectures

EVERY = pytest.mark.parametrize("arch", list(architectures()))
SCHEMAS = pytest.mark.parametrize(
    "schema",
    [both_sides(), candidates_only(), every_kind_schema()],
    ids=["both sides", "candidates only", "every kind of feature"],
)


# Wide enough that no layer has only units that the rectifier switched off.
WIDE = {"hidden": (24, 16), "tower_hidden": (16,)}


def _ready(arch, **sizes):
    """Give a network in double precision: two ways to one score then agree to the last digits, or differ in earnest."""
    return shaken(tiny(arch, **WIDE, **sizes)).eval().double()


def _inputs(**sizes):
    inputs = some_inputs(**sizes)
    return replace(inputs, request_dense=inputs.request_dense.double(), candidate_dense=inputs.candidate_dense.double())


@torch.no_grad()
def _outputs(model, inputs):
    return {task: raw.clone() for task, raw in model.served(model(inputs)).items()}


def _assert_same(got, wanted, tolerance=0.0):
    assert got.keys() == wanted.keys()
    for task, raw in got.items():
        size = wanted[task].abs().clamp(min=1.0)
        torch.testing.assert_close(raw / size, wanted[task] / size, atol=tolerance, rtol=0, msg=task)


@SCHEMAS
@EVERY
def test_sharing_a_request_among_its_candidates_changes_no_score(arch, schema):
    model = _ready(arch, schema=schema)
    inputs = _inputs(schema=schema, requests=3, candidates=17)

    scores = _outputs(model, inputs)
    assert any(raw[:, 0].std() > 0.01 for raw in scores.values()), "a network that answers alike would pass anything"
    _assert_same(_outputs(model, unfactored(inputs)), scores, tolerance=1e-10)


@EVERY
def test_a_candidate_scores_the_same_alone_and_among_others(arch):
    """Statistics of a serving batch, as peers' batch normalisation inside gates takes them, would break this."""
    model, inputs = _ready(arch), _inputs()
    together = _outputs(model, inputs)

    for row in range(len(inputs.request_index)):
        alone = replace(
            inputs,
            candidate_ids=inputs.candidate_ids[row : row + 1],
            candidate_dense=inputs.candidate_dense[row : row + 1],
            request_index=inputs.request_index[row : row + 1],
        )
        wanted = {task: raw[row : row + 1] for task, raw in together.items()}

        _assert_same(_outputs(model, alone), wanted, tolerance=1e-10)


@EVERY
def test_the_order_of_candidates_changes_no_score(arch):
    model, inputs = _ready(arch), _inputs()
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    moved = replace(
        inputs,
        candidate_ids=inputs.candidate_ids[order],
        candidate_dense=inputs.candidate_dense[order],
        request_index=inputs.request_index[order],
    )

    wanted = {task: raw[order] for task, raw in _outputs(model, inputs).items()}
    _assert_same(_outputs(model, moved), wanted, tolerance=1e-10)


@EVERY
def test_every_weight_learns_from_a_labelled_batch(arch):
    """A weight that no loss reaches is dead, as MMLRec's transformation matrices are: they stand in a plain list."""
    model, inputs = shaken(tiny(arch, **WIDE)).train(), some_inputs(candidates=40)
    raw = model(inputs)
    losses = model.row_losses(raw, some_labels(40), inputs)
    penalty = model.penalty(raw)

    total = torch.stack([mean_loss(rows) for rows in losses.values()]).sum()
    found = gradients(model, total if penalty is None else total + penalty)

    dead = [name for name, gradient in found.items() if not gradient.abs().sum() > 0]
    assert not dead
    assert all(torch.isfinite(gradient).all() for gradient in found.values())


@EVERY
def test_losses_of_rows_without_a_label_are_finite_and_send_nothing_back(arch):
    model, inputs = shaken(tiny(arch)).train(), some_inputs()
    labels = {name: torch.full_like(label, float("nan")) for name, label in some_labels().items()}

    rows = model.row_losses(model(inputs), labels, inputs)
    total = torch.stack([mean_loss(each) for each in rows.values()]).sum()

    assert total.item() == 0.0
    assert all(torch.isfinite(each.values).all() for each in rows.values())
    assert all((gradient == 0).all() for gradient in gradients(model, total).values())


@EVERY
def test_saved_weights_bring_back_the_same_scores(arch):
    model, other, inputs = _ready(arch), tiny(arch, **WIDE, seed=9).eval().double(), _inputs()
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))

    other.load_state_dict(model.state_dict())

    _assert_same(_outputs(other, inputs), _outputs(model, inputs))


@EVERY
def test_the_same_seed_builds_the_same_network(arch):
    first, second = tiny(arch, seed=4).state_dict(), tiny(arch, seed=4).state_dict()

    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@EVERY
def test_weights_stepped_apart_are_the_networks_own_and_no_table(arch):
    model = tiny(arch)
    apart = [id(parameter) for group in model.parameter_groups() for parameter in group.parameters]
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}

    assert len(apart) == len(set(apart))
    assert set(apart) <= {id(parameter) for parameter in model.parameters()} - tables
