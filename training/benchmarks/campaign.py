"""Many runs of one data set over architectures and seeds, kept as one JSON line each: cut it anywhere, it goes on.

Every architecture gets the same budget: each of the grid's learning rates once on a seed of its own, judged on
validation, then the seeds of the table with the better one. Test is looked at once a run, after its last epoch.
"""

import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contract.features import FeatureSchema
from contract.tasks import Task
from training.config import TrainConfig
from training.data.columns import EncodedSplit, encode_split
from training.data.format import Dataset, open_dataset
from training.data.schema import fit_schema
from training.data.sources import prepare_dataset
from training.evaluation import held_out
from training.fitting import debiased_tasks, fitted_tasks
from training.models.registry import build_model
from training.pipeline import without_nan
from training.provenance import current_commit
from training.report import Impressions, task_report
from training.trainer import fit

__all__ = ["Job", "Prepared", "Results", "prepared", "report_of", "run_jobs", "validation_value"]

TUNING_SEED = 1_000
_KEPT = (
    "auc",
    "gauc_by_user_row_weighted",
    "auc_within_lists",
    "ndcg",
    "ndcg_at_10",
    "log_loss",
    "expected_calibration_error",
    "mae_log",
    "mae_seconds",
    "spearman",
    "xauc",
    "bias_tre",
)
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run.

    Args:
        stage: ``tune`` or ``final``.
    """

    data: str
    stage: str
    config: TrainConfig

    @property
    def key(self) -> tuple[str, str, str, int, float]:
        """What makes a run the same run."""
        return (self.data, self.stage, self.config.arch, self.config.seed, self.config.optim.learning_rate)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set, encoded once for all runs."""

    dataset: Dataset
    schema: FeatureSchema
    splits: dict[str, EncodedSplit]


class Results:
    """Finished runs, in a file of JSON lines.

    Args:
        path: Is appended to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        if path.is_file():
            self.records = [json.loads(line) for line in path.read_text().splitlines() if line]

    def add(self, record: dict[str, Any]) -> None:
        """Keep a run at once."""
        self.records.append(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def done(self) -> set[tuple[str, str, str, int, float]]:
        """Give the keys of all finished runs."""
        return {(r["data"], r["stage"], r["arch"], r["seed"], r["learning_rate"]) for r in self.records}

    def of(self, data: str, stage: str, arch: str | None = None) -> list[dict[str, Any]]:
        """Give the runs of one data set and stage, of one architecture or of all."""
        return [
            record
            for record in self.records
            if record["data"] == data and record["stage"] == stage and arch in (None, record["arch"])
        ]


def prepared(name: str, cache: Path) -> Prepared:
    """Prepare and encode a data set under *cache*, or map what is there."""
    home = cache / name
    dataset = open_dataset(home / "data") if (home / "data").is_dir() else prepare_dataset(name, home / "data")
    schema = fit_schema(dataset)
    scratch = home / f"columns-{multiprocessing.current_process().name}"
    splits = {split: encode_split(dataset, split, schema, scratch / split) for split in SPLITS}
    return Prepared(dataset=dataset, schema=schema, splits=splits)


def run_jobs(jobs: Iterable[Job], results: Results, *, cache: Path, workers: int, until: float) -> Iterator[Job]:
    """Run what is not done yet, each worker on one thread; gives back every finished job.

    Args:
        until: Point on the monotonic clock after which no new run begins.
    """
    waiting = [job for job in jobs if job.key not in results.done()]
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_one_thread) as pool:
        todo = ((job, str(cache), until) for job in waiting)
        for job, record in pool.imap_unordered(_run, todo):
            if record is not None:
                results.add(record)
                yield job


def _one_thread() -> None:
    torch.set_num_threads(1)


_LOADED: dict[str, Prepared] = {}


def _run(todo: tuple[Job, str, float]) -> tuple[Job, dict[str, Any] | None]:
    job, cache, until = todo
    if time.monotonic() > until:
        return job, None
    if job.data not in _LOADED:
        _LOADED[job.data] = prepared(job.data, Path(cache))
    return job, run(job, _LOADED[job.data])


def run(job: Job, data: Prepared) -> dict[str, Any]:
    """Train once and report on validation and test."""
    begin = time.perf_counter()
    torch.manual_seed(job.config.seed)
    declared = fitted_tasks(data.dataset, job.config, data.schema, data.splits["train"])
    model = build_model(job.config.arch, data.schema, declared, job.config.model)
    history = fit(model, data.splits["train"], data.splits["validation"], job.config)
    seconds = time.perf_counter() - begin
    tasks = debiased_tasks(tuple(model.task_specs.values()), model, job.config, data.splits["validation"])
    reports = {split: report_of(held_out(model, tasks, data.splits[split]), tasks) for split in ("validation", "test")}
    record = {
        "data": job.data,
        "stage": job.stage,
        "arch": job.config.arch,
        "seed": job.config.seed,
        "learning_rate": job.config.optim.learning_rate,
        "epochs": len(history),
        "seconds": round(seconds, 2),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "commit": current_commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "validation": validation_value(reports["validation"]),
        "test": reports["test"],
    }
    plain: dict[str, Any] = without_nan(record)
    return plain


def report_of(rows: Impressions, tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
    """Give the kept numbers of every task."""
    full = {task.name: task_report(rows, task) for task in tasks}
    return {
        name: {metric: round(float(report[metric]), 5) for metric in _KEPT if metric in report}
        for name, report in full.items()
    }


def validation_value(reports: Mapping[str, Mapping[str, float]]) -> float:
    """Give what a tuning run is judged by: the mean over tasks of AUC, or of Spearman's correlation of a duration."""
    values = np.array([report.get("auc", report.get("spearman", np.nan)) for report in reports.values()])
    return round(float(np.nanmean(values)), 6)
