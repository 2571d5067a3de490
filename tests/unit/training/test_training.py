"""Losses, debiasing and the loop."""

import numpy as np
import pytest
import torch

from contract.tasks import BinaryTask, DurationTask
from training.checkpoint import load_checkpoint
from training.config import TrainConfig
from training.data.columns import encode_split
from training.data.schema import fit_schema
from training.data.simulator import prepare
from training.debias import smearing_factor
from training.errors import CheckpointError, TrainingDiverged
from training.losses import mean_loss, own_row_loss
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.pipeline import export_checkpoint, train_and_publish
from training.trainer import fit

TASKS = (BinaryTask(name="ctr"), BinaryTask(name="like", given="ctr"), DurationTask(name="duration", given="ctr"))
CONFIG = TrainConfig(data="simulator", arch="mmoe", epochs=3, model=ModelConfig(embedding_dim=4, hidden=(16,)))


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    dataset = prepare(folder / "data", rows=4_000, seed=1)
    schema = fit_schema(dataset)
    return schema, {name: encode_split(dataset, name, schema, folder / name) for name in ("train", "validation")}


def _fit(splits, config=CONFIG):
    schema, parts = splits
    torch.manual_seed(config.seed)
    model = build_model(config.arch, schema, TASKS, config.model)
    return model, fit(model, parts["train"], parts["validation"], config)


def _loss(task, raw, label, weights=None):
    rows = own_row_loss(task, raw[:, None], {task.name: torch.tensor(label)}, None)
    return mean_loss(rows, weights)


def test_rows_without_a_label_add_nothing_to_a_loss():
    outputs = torch.tensor([0.0, 5.0], requires_grad=True)

    loss = _loss(TASKS[0], outputs, [1.0, float("nan")])
    loss.backward()

    assert loss.item() == pytest.approx(np.log(2))
    assert outputs.grad[1] == 0.0


def test_a_batch_without_any_label_gives_zero_and_not_nan():
    outputs = torch.zeros(3, requires_grad=True)

    loss = _loss(TASKS[2], outputs, [float("nan")] * 3)
    loss.backward()

    assert loss.item() == 0.0
    assert torch.isfinite(outputs.grad).all()


def test_a_row_of_weight_three_counts_as_three_rows():
    heavy = _loss(TASKS[0], torch.tensor([0.3, -1.0]), [1.0, 0.0], torch.tensor([3.0, 1.0]))
    repeated = _loss(TASKS[0], torch.tensor([0.3, 0.3, 0.3, -1.0]), [1.0, 1.0, 1.0, 0.0])

    torch.testing.assert_close(heavy, repeated)


def test_smearing_makes_the_total_of_held_out_seconds_right():
    rng = np.random.default_rng(0)
    predicted = rng.normal(3.0, 0.5, size=5_000)
    seconds = np.expm1(predicted + rng.normal(0, 1.0, size=5_000))

    factor = smearing_factor(seconds, np.expm1(predicted))

    assert np.sum(np.exp(predicted) * factor - 1) == pytest.approx(np.sum(seconds))
    assert np.sum(np.expm1(predicted)) < 0.7 * np.sum(seconds)


def test_the_same_seed_gives_the_same_losses_twice(splits):
    _, first = _fit(splits)
    _, second = _fit(splits)

    assert first == second


def test_the_weights_of_the_best_epoch_come_back(splits):
    optim = CONFIG.optim.model_copy(update={"learning_rate": 0.05, "patience": 1})
    config = CONFIG.model_copy(update={"epochs": 60, "optim": optim})
    model, history = _fit(splits, config)
    best = min(history, key=lambda epoch: epoch.score)
    again = fit(model, splits[1]["train"], splits[1]["validation"], config.model_copy(
        update={"epochs": 1, "optim": config.optim.model_copy(update={"learning_rate": 1e-12})}))  # fmt: skip

    assert history[-1].score > best.score, "the run has to get worse for this test to say something"
    assert again[0].validation == pytest.approx(best.validation, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(splits):
    with pytest.raises(TrainingDiverged, match="learning rate"):
        _fit(splits, CONFIG.model_copy(update={"task_weights": {"ctr": float("inf")}}))


def test_training_learns_what_the_simulator_put_in(splits):
    optim = CONFIG.optim.model_copy(update={"learning_rate": 0.01})
    _, history = _fit(splits, CONFIG.model_copy(update={"epochs": 8, "optim": optim}))

    assert history[-1].validation["duration"] < history[0].train["duration"] / 4
    assert min(epoch.validation["ctr"] for epoch in history) < 0.45


def test_an_export_of_a_checkpoint_answers_as_the_bundle_of_its_own_run(tmp_path):
    dataset = prepare(tmp_path / "data", rows=1_000, seed=1)
    config = CONFIG.model_copy(update={"epochs": 1})
    first = train_and_publish(dataset, config, tmp_path / "a", name="m", checkpoint=tmp_path / "runs" / "m.pt")

    second = export_checkpoint(load_checkpoint(tmp_path / "runs" / "m.pt"), dataset, tmp_path / "b", name="m")

    assert second.manifest.tasks == first.manifest.tasks
    assert second.report() == first.report()
    for head, values in first.golden().heads.items():
        np.testing.assert_array_equal(second.golden().heads[head], values)


@pytest.mark.parametrize("content", [None, b"not a checkpoint", b""])
def test_what_is_no_checkpoint_is_refused_with_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "m.pt").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"m\.pt"):
        load_checkpoint(tmp_path / "m.pt")
