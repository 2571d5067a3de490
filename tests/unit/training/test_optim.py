"""Embedding tables move only where the batch looked, and exactly as Adam moves them there."""

import numpy as np
import pytest
import torch
from torch import nn

from training.averaging import WeightAverage
from training.config import OptimConfig
from training.data.batches import batches
from training.data.columns import encode_split
from training.data.schema import fit_schema
from training.data.simulator import prepare
from training.fitting import declared_tasks
from training.inputs import as_tensors, unfactored
from training.losses import mean_loss
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.optim import Optimisers, RowAdam


def _table(rows=6, dim=3, *, sparse=True):
    torch.manual_seed(0)
    return nn.Embedding(rows, dim, sparse=sparse)


def _step(table, optimiser, ids, target):
    optimiser.zero_grad()
    ((table(ids) - target) ** 2).sum().backward()
    optimiser.step()


def test_repeated_ids_move_their_row_as_the_sum_of_their_gradients_does():
    ours, theirs = _table(), _table()
    mine, reference = RowAdam([ours.weight], lr=0.1), torch.optim.SparseAdam([theirs.weight], lr=0.1)
    rng = torch.Generator().manual_seed(1)

    for _ in range(20):
        ids, target = torch.randint(0, 6, (7,), generator=rng), torch.randn(7, 3, generator=rng)
        _step(ours, mine, ids, target)
        _step(theirs, reference, ids, target)

    torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-6, rtol=1e-6)


def test_when_every_row_is_looked_up_it_is_plain_adam():
    ours, theirs = _table(), _table(sparse=False)
    mine, reference = RowAdam([ours.weight], lr=0.1), torch.optim.Adam([theirs.weight], lr=0.1)

    for seed in range(10):
        target = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))
        _step(ours, mine, torch.arange(6), target)
        _step(theirs, reference, torch.arange(6), target)

    torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-6, rtol=1e-6)


def test_rows_that_no_id_named_stand_still():
    table = _table()
    before = table.weight.detach().clone()

    _step(table, RowAdam([table.weight], lr=0.1), torch.tensor([1, 1, 4]), torch.ones(3, 3))

    moved = (table.weight != before).any(dim=1)
    assert moved.tolist() == [False, True, False, False, True, False]


def test_a_table_that_is_read_twice_gets_both_gradients():
    ours, theirs = _table(), _table(sparse=False)
    mine, reference = RowAdam([ours.weight], lr=0.1), torch.optim.Adam([theirs.weight], lr=0.1)

    for table, optimiser in ((ours, mine), (theirs, reference)):
        (table(torch.arange(6)).sum() + (table(torch.tensor([0, 3])) ** 2).sum()).backward()
        optimiser.step()

    torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-6, rtol=1e-6)


def test_factored_training_follows_the_unfactored_loss_curve(tmp_path):
    dataset = prepare(tmp_path / "data", rows=6_000, seed=2)
    schema = fit_schema(dataset)
    split = encode_split(dataset, "train", schema, tmp_path / "train")
    config = ModelConfig(embedding_dim=4, hidden=(16, 8), dropout=0.0)

    def curve(layout):
        torch.manual_seed(0)
        model = build_model("mmoe", schema, declared_tasks(dataset), config)
        optimisers, losses = Optimisers(model, [], OptimConfig()), []
        for batch in batches(split, requests=16):
            inputs = layout(as_tensors(batch.inputs))
            labels = {name: torch.from_numpy(column) for name, column in batch.labels.items()}
            rows = model.row_losses(model(inputs), labels, inputs)
            total = torch.stack([mean_loss(row) for row in rows.values()]).sum()
            optimisers.zero_grad()
            total.backward()
            optimisers.step(max_norm=10.0)
            losses.append(total.item())
        return losses

    factored, plain = curve(lambda inputs: inputs), curve(unfactored)

    assert len(factored) > 10
    np.testing.assert_allclose(factored, plain, rtol=1e-5)


def test_the_average_serves_and_the_weights_come_back():
    layer = nn.Linear(1, 1, bias=False)
    average, seen = WeightAverage(layer, 0.9), []

    for step in range(160):
        with torch.no_grad():
            layer.weight.fill_(step % 2)  # jumps between 0 and 1, with 1 where the average looks
        average.update()
    with average.in_place():
        seen.append(layer.weight.item())
    seen.append(layer.weight.item())

    assert seen[0] == pytest.approx(1.0, abs=1e-3)
    assert seen[1] == 1.0


def test_the_average_lags_behind_a_weight_that_climbs():
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, 0.99)

    for step in range(4_000):
        with torch.no_grad():
            layer.weight.fill_(float(step))
        average.update()
    with average.in_place():
        held = layer.weight.item()

    assert 3_999 - 115 < held < 3_999 - 85, "an average of decay .99 is about 100 steps late"
    assert layer.weight.item() == 3_999


def test_without_averaging_the_model_holds_its_own_weights():
    layer = nn.Linear(1, 1, bias=False)
    average, own = WeightAverage(layer, 0.0), layer.weight.item()

    for _ in range(20):
        average.update()
    with average.in_place():
        assert layer.weight.item() == own


def test_running_means_of_a_normalisation_are_averaged_with_its_weights():
    layer = nn.BatchNorm1d(1)
    average = WeightAverage(layer, 0.99)

    for step in range(4_000):
        layer.running_mean.fill_(float(step))
        average.update()
    with average.in_place():
        held = layer.running_mean.item()

    assert 3_999 - 115 < held < 3_999 - 85
    assert layer.running_mean.item() == 3_999
