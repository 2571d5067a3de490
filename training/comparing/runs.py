"""Single runs of a comparison: what is trained, what is kept of it, and many of them at once."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch

from contract.calibration import apply_calibration
from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Head, Task
from training.config import TrainConfig
from training.data.columns import EncodedSplit
from training.data.format import Dataset
from training.evaluation import held_out
from training.fitting import calibrated_heads, debiased_tasks, fitted_tasks
from training.gates import GateStatistics, gate_statistics
from training.models.base import MultiTaskModel
from training.models.registry import build_model
from training.pretrained import start_pretrained
from training.report import Impressions, task_report
from training.trainer import fit

__all__ = ["Contender", "Material", "Run", "Runner", "train_once"]

JUDGED = ("validation", "test")


class Contender(Frozen):
    """Something to compare.

    Args:
        name: As the report calls it.
        config: Its run, but for the seed.
        is_reference: The single-task networks that all others are measured against.
        note: What a reader has to know of it, such as weights that were searched for.
    """

    name: str
    config: TrainConfig
    is_reference: bool = False
    note: str = ""


@runtime_checkable
class SelectsFields(Protocol):
    """A model that weighs input fields, for each task its own way."""

    def selected_fields(self) -> Mapping[str, Mapping[str, float]]:
        """Give, by task and field, the weight that the field has."""


class Run(Frozen):
    """What is kept of one trained model; the model itself is not.

    Args:
        numbers: By split (validation and test), task and metric; None where a metric has no value.
        balance: Of each epoch: mean cosines of the tasks' gradients, and effective weights.
        gates: On the test split; None where the model has none.
        selected: Task to field to its weight; empty where the model does not select fields.
        epochs: Passes over the data that were made.
        seconds: Of training alone, on one thread.
    """

    contender: str
    seed: int
    numbers: dict[str, dict[str, dict[str, float | None]]]
    balance: tuple[dict[str, float], ...]
    gates: GateStatistics | None
    selected: dict[str, dict[str, float]]
    epochs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Material:
    """A data set, encoded once for all runs.

    Args:
        splits: train, validation and test.
    """

    dataset: Dataset
    schema: FeatureSchema
    splits: dict[str, EncodedSplit]


def train_once(contender: Contender, seed: int, material: Material) -> Run:
    """Train a contender once and look at it."""
    config = contender.config.model_copy(update={"seed": seed})
    train, validation = material.splits["train"], material.splits["validation"]
    torch.manual_seed(seed)
    declared = fitted_tasks(material.dataset, config, material.schema, train)
    model = build_model(config.arch, material.schema, declared, config.model)
    start_pretrained(model, material.dataset, material.schema)
    begin = time.perf_counter()
    history = fit(model, train, validation, config)
    seconds = time.perf_counter() - begin
    tasks = debiased_tasks(tuple(model.task_specs.values()), model, config, validation)
    heads = calibrated_heads(tasks, model, validation)
    judged = {split: _served(held_out(model, tasks, material.splits[split]), heads) for split in JUDGED}
    return Run(
        contender=contender.name,
        seed=seed,
        numbers={split: {task.name: _numbers(rows, task) for task in tasks} for split, rows in judged.items()},
        balance=tuple(epoch.balance for epoch in history),
        gates=gate_statistics(model, material.splits["test"]),
        selected=_selected(model),
        epochs=len(history),
        seconds=seconds,
    )


class Runner:
    """Trains contenders, each on one thread, as many at once as there are workers.

    Args:
        workers: Processes; 1 trains in this one.
        on_run: Called with every finished run, in whatever order they finish.
    """

    def __init__(self, material: Material, *, workers: int, on_run: Callable[[Run], None] = lambda run: None) -> None:
        self.material, self.workers, self.on_run = material, workers, on_run
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Start the workers."""
        if self.workers > 1:
            # Fresh processes: a forked copy of a process in which torch has run may hang in its thread pool.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_receive, initargs=(self.material,)
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the workers, without waiting for runs that nobody will read."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def run(self, jobs: Sequence[tuple[Contender, int]]) -> list[Run]:
        """Train every contender with its seed; gives runs in the order of *jobs*.

        Raises:
            TrainingError: Of the first run that failed.
        """
        finished: dict[tuple[str, int], Run] = {}
        for run in self._runs(jobs):
            finished[run.contender, run.seed] = run
            self.on_run(run)
        return [finished[contender.name, seed] for contender, seed in jobs]

    def _runs(self, jobs: Sequence[tuple[Contender, int]]) -> Iterator[Run]:
        if self._pool is None:
            yield from (train_once(contender, seed, self.material) for contender, seed in jobs)
            return
        for done in as_completed([self._pool.submit(_run, contender, seed) for contender, seed in jobs]):
            yield done.result()


_received: list[Material] = []


def _receive(material: Material) -> None:
    torch.set_num_threads(1)
    _received.append(material)


def _run(contender: Contender, seed: int) -> Run:
    return train_once(contender, seed, _received[-1])


def _selected(model: MultiTaskModel) -> dict[str, dict[str, float]]:
    if not isinstance(model, SelectsFields):
        return {}
    return {task: dict(fields) for task, fields in model.selected_fields().items()}


def _served(rows: Impressions, heads: Sequence[Head]) -> Impressions:
    """Give predictions as the service would: calibrated, where the architecture's loss makes no probabilities."""
    calibrated = {head.name: apply_calibration(head.calibration, rows.heads[head.name]) for head in heads}
    return replace(rows, heads=calibrated)


def _numbers(rows: Impressions, task: Task) -> dict[str, float | None]:
    report = task_report(rows, task)
    plain = {name: float(value) for name, value in report.items() if isinstance(value, float)}
    return {name: value if np.isfinite(value) else None for name, value in plain.items()}


def _mapped_again(filename: str, dtype: Any, shape: tuple[int, ...], offset: int) -> Any:
    return np.memmap(filename, dtype=dtype, shape=shape, offset=offset, mode="c")


def _where_it_lies(array: "np.memmap[Any, Any]") -> tuple[Any, tuple[Any, ...]]:
    return _mapped_again, (array.filename, array.dtype, array.shape, array.offset)


# Workers map the files of an encoded split again, instead of each getting a copy of it.
ForkingPickler.register(np.memmap, _where_it_lies)
