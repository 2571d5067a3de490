"""The bar reads the same fields as our models."""

import numpy as np
import pytest

from tests.every_kind import every_kind
from training.benchmarks.campaign import SPLITS, Prepared
from training.benchmarks.lightgbm_runs import lightgbm_run
from training.data.columns import encode_split
from training.data.schema import fit_schema
from training.fitting import declared_tasks


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lightgbm")
    dataset = every_kind(folder / "data", lists=200)
    schema = fit_schema(dataset)
    splits = {split: encode_split(dataset, split, schema, folder / split) for split in SPLITS}
    return Prepared(dataset=dataset, schema=schema, splits=splits)


def test_every_kind_of_field_reaches_the_trees_and_gives_figures_of_every_task(prepared):
    record = lightgbm_run("every_kind", "final", 0, prepared, declared_tasks(prepared.dataset))

    assert record["test"].keys() == {"ctr", "like", "duration"}
    assert np.isfinite(record["validation"])
