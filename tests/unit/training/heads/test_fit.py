"""Heads of every kind in a whole run, and labels that no head can be fitted to."""

import numpy as np
import pyarrow as pa
import pytest

from contract.durations import Cread
from contract.tasks import BinaryTask, CountTask, DurationTask, RegressionTask
from tests.durations import sample_of
from training.config import OptimConfig, TrainConfig
from training.data.format import DatasetWriter, LabelDeclaration, open_dataset
from training.data.simulator import prepare
from training.errors import DataError
from training.heads.registry import fit_task
from training.models.base import ModelConfig
from training.pipeline import train_and_publish

CONFIG = TrainConfig(
    data="simulator",
    arch="shared_bottom",
    epochs=3,
    model=ModelConfig(embedding_dim=4, hidden=(8,), dropout=0.0),
    optim=OptimConfig(learning_rate=1e-2, batch_requests=8),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The simulator's lists with how many were bought and what was paid, both from the price of the item."""
    folder, rng = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    plain = prepare(folder / "plain", rows=4_000, seed=1)
    labels = (
        LabelDeclaration(name="ctr", kind="binary"),
        LabelDeclaration(name="bought", kind="count"),
        LabelDeclaration(name="paid", kind="regression"),
    )
    info = plain.info.model_copy(
        update={"name": "shop", "labels": labels, "default_formula": "ctr * bought + 0 * paid", "splits": {}}
    )
    with DatasetWriter(folder / "shop", info) as writer:
        for split in plain.info.splits:
            for table in plain.row_groups(split):
                price = table["price"].combine_chunks()
                flat = price.flatten().to_numpy()
                bought = rng.poisson(20.0 / flat).astype(np.float32)
                paid = (3.0 * flat - 50.0 + rng.normal(size=len(flat))).astype(np.float32)
                for name, values in (("bought", bought), ("paid", paid)):
                    table = table.append_column(name, pa.ListArray.from_arrays(price.offsets, pa.array(values)))
                writer.write(split, table)
    return open_dataset(folder / "shop")


def test_counts_and_values_are_trained_served_in_their_unit_and_reported(shop, tmp_path):
    bundle = train_and_publish(shop, CONFIG, tmp_path, name="shop")

    heads = bundle.report()["heads"]
    units = {head.name: head.unit for head in bundle.manifest.heads}
    assert units == {"ctr": "probability", "bought": "count", "paid": "value"}
    assert heads["bought"]["spearman"] > 0.6
    assert heads["bought"]["predicted_over_observed"] == pytest.approx(1.0, abs=0.25)
    assert heads["paid"]["spearman"] > 0.8
    assert heads["paid"]["mae"] < 0.7 * heads["paid"]["mae_of_a_constant"]
    assert len(heads["bought"]["bias_by_predicted"]) == 10
    assert (bundle.golden().heads["bought"] > 0).all()


@pytest.mark.parametrize("task", [DurationTask(name="read", objective=Cread()), CountTask(name="read")])
def test_a_label_that_no_training_row_has_is_refused(task):
    with pytest.raises(DataError, match="no training row has the label 'read'"):
        fit_task(task, sample_of(np.zeros(0)))


@pytest.mark.parametrize("task", [DurationTask(name="read"), CountTask(name="read")])
def test_durations_and_counts_below_0_are_refused(task):
    with pytest.raises(DataError, match="'read' is below 0"):
        fit_task(task, sample_of(np.array([3.0, -1.0])))


def test_a_probability_needs_no_row_and_a_value_may_be_below_0():
    assert fit_task(BinaryTask(name="like"), sample_of(np.zeros(0))) == BinaryTask(name="like")
    assert fit_task(RegressionTask(name="paid"), sample_of(np.array([-3.0, -1.0]))).mean == -2.0
