"""LightGBM, one model a task, on the fields of our models: the bar for every table.

G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
"""

import time
from datetime import UTC, datetime
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from contract.features import FeatureSchema, Side
from contract.scaling import as_one_number
from contract.tasks import DurationTask, Task
from training.benchmarks.campaign import SPLITS, Prepared, report_of, validation_value
from training.data.columns import EncodedSplit
from training.pipeline import without_nan
from training.provenance import current_commit
from training.report import Impressions

__all__ = ["ARCH", "lightgbm_run"]

Array = NDArray[Any]
ARCH = "lightgbm"
_ROUNDS, _PATIENCE = 2_000, 50
_SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.8,
    "num_threads": 1,
    "verbosity": -1,
}


def lightgbm_run(data: str, stage: str, seed: int, loaded: Prepared, tasks: tuple[Task, ...]) -> dict[str, Any]:
    """Train one model a task, stopped on validation, and report on validation and test as our runs do."""
    begin = time.perf_counter()
    columns = {split: _columns(loaded.schema, loaded.splits[split]) for split in SPLITS}
    heads: dict[str, dict[str, Array]] = {split: {} for split in SPLITS}
    rounds = 0
    for task in tasks:
        booster = _fit(task, seed, loaded, columns)
        rounds = max(rounds, booster.best_iteration)
        for split in ("validation", "test"):
            predicted = np.asarray(booster.predict(columns[split]))
            heads[split] |= _heads(task, predicted)
    seconds = time.perf_counter() - begin
    reports = {
        split: report_of(_impressions(loaded.splits[split], heads[split]), tasks) for split in ("validation", "test")
    }
    record = {
        "data": data,
        "stage": stage,
        "arch": ARCH,
        "seed": seed,
        "learning_rate": _SETTINGS["learning_rate"],
        "epochs": rounds,
        "seconds": round(seconds, 2),
        "parameters": None,
        "commit": current_commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "validation": validation_value(reports["validation"]),
        "test": reports["test"],
    }
    plain: dict[str, Any] = without_nan(record)
    return plain


def _fit(task: Task, seed: int, loaded: Prepared, columns: dict[str, Array]) -> lightgbm.Booster:
    is_duration = isinstance(task, DurationTask)
    sets = []
    for split in ("train", "validation"):
        labels = np.asarray(loaded.splits[split].labels[task.name])
        rows = np.flatnonzero(np.isfinite(labels))
        target = np.log1p(labels[rows]) if is_duration else labels[rows]
        sets.append(lightgbm.Dataset(columns[split][rows], label=target, free_raw_data=False))
    settings = {
        **_SETTINGS,
        "seed": seed,
        "objective": "regression" if is_duration else "binary",
        "metric": "l2" if is_duration else "auc",
    }
    return lightgbm.train(
        settings,
        sets[0],
        num_boost_round=_ROUNDS,
        valid_sets=[sets[1]],
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
    )


def _columns(schema: FeatureSchema, split: EncodedSplit) -> Array:
    """Lay everything flat: ids as numbers (ordered by frequency, which trees split better than as categories)."""
    lists = split.list_of_row()
    request = np.concatenate([split.request.ids, _dense(schema, "request", split.request.dense)], axis=1)
    candidate = [split.candidate.ids, _dense(schema, "candidate", split.candidate.dense)]
    return np.concatenate([np.asarray(part, dtype=np.float32) for part in (request[lists], *candidate)], axis=1)


def _dense(schema: FeatureSchema, side: Side, dense: Array) -> Array:
    """Give one column a number and the vectors as they are.

    The columns of a piecewise field are summed up: trees cut one number wherever they like, and find no cut more in
    its columns, only work (on census-b 6.2 s for 3.8 s of one thread).
    """
    spans = schema.dense_spans(side)
    numbers = [as_one_number(dense[:, spans[field.name]])[:, None] for field in schema.numbers_on(side)]
    vectors = [dense[:, spans[field.name]] for field in schema.vectors_on(side)]
    return np.concatenate([*numbers, *vectors], axis=1) if spans else dense


def _heads(task: Task, predicted: Array) -> dict[str, Array]:
    if isinstance(task, DurationTask):
        return {f"log_{task.name}": predicted, f"{task.name}_seconds": np.expm1(np.maximum(predicted, 0.0))}
    return {task.name: predicted}


def _impressions(split: EncodedSplit, heads: dict[str, Array]) -> Impressions:
    lists = split.list_of_row()
    return Impressions(
        lists=lists,
        users=np.asarray(split.groups)[lists],
        labels={name: np.asarray(column) for name, column in split.labels.items()},
        heads=heads,
        numbers={},
    )
