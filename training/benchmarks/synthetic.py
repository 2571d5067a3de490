# ruff: noqa: E501 - lines of the page that it writes
"""Do gates help where tasks differ? The synthetic experiment of the MMoE paper: ``make bench-synthetic``.

J. Ma et al., KDD 2018, §3.2 and §4.1, https://doi.org/10.1145/3219819.3220007: shared-bottom, OMoE and MMoE of the same
size on pairs of tasks whose relation is known (:mod:`training.data.synthetic`).
"""

import multiprocessing
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import Progress

import training.models
from training.comparing.capacity import dense_parameters, widened
from training.config import OptimConfig, TrainConfig
from training.data.synthetic import FEW_WAVES, TASKS, TaskPair, encode, schema
from training.evaluation import predict_heads
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.provenance import current_commit
from training.trainer import fit

__all__ = ["ARCHITECTURES", "Cell", "Setting", "label_correlation", "losses", "main", "matched_models", "test_loss"]

ARCHITECTURES = ("shared_bottom", "omoe", "mmoe")
PAPER = ModelConfig(embedding_dim=1, hidden=(16,), tower_hidden=(8,), num_experts=8, dropout=0.0)
TUNING_SEEDS = (1_000, 1_001)
RATES = (1e-3, 3e-3, 1e-2)
_ = training.models  # fills the registry


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One version of the experiment.

    Args:
        waves: As :meth:`~training.data.synthetic.TaskPair.draw` takes them.
        rows: For training; *held_out* for validation and for test.
    """

    name: str
    waves: tuple[tuple[float, float], ...] | None
    width: int = 100
    rows: int = 20_000
    held_out: int = 5_000
    epochs: int = 10
    batch: int = 128


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Where a run stands in the table."""

    setting: Setting
    arch: str
    correlation: float
    learning_rate: float


SETTINGS = (
    Setting(name="few waves, the same in every run", waves=FEW_WAVES),
    Setting(name="ten waves, drawn anew in every run", waves=None),
)


def matched_models(width: int) -> dict[str, ModelConfig]:
    """Give each architecture the paper's sizes, the others widened to as many parameters as MMoE has, gates included."""

    def count(arch: str) -> Callable[[ModelConfig], int]:
        return lambda config: dense_parameters(build_model(arch, schema(width), TASKS, config))

    budget = count("mmoe")(PAPER)
    return {arch: widened(count(arch), PAPER, budget) for arch in ARCHITECTURES}


def test_loss(cell: Cell, seed: int, *, split: str = "test") -> float:
    """Train once by Adam and give the squared error on held-out rows as a share of the labels' variance, mean of both tasks.

    Directions, waves and rows depend on the seed alone: at one seed all architectures and correlations meet the same x.
    """
    setting, rng = cell.setting, np.random.default_rng(seed + 1)
    pair = TaskPair.draw(cell.correlation, seed=seed, width=setting.width, waves=setting.waves)
    parts = {name: pair.sample(rows, rng) for name, rows in _rows(setting).items()}
    variance_T = parts["train"][1].var(axis=0)
    tasks = tuple(
        task.model_copy(update={"mean": mean, "std": std})
        for task, mean, std in zip(TASKS, parts["train"][1].mean(axis=0), np.sqrt(variance_T), strict=True)
    )
    config = TrainConfig(
        data="synthetic",
        arch=cell.arch,
        epochs=setting.epochs,
        seed=seed,
        model=matched_models(setting.width)[cell.arch],
        optim=OptimConfig(
            learning_rate=cell.learning_rate, weight_decay=0.0, batch_requests=setting.batch, patience=setting.epochs
        ),
    )
    torch.manual_seed(seed)
    model = build_model(cell.arch, schema(setting.width), tasks, config.model)
    fit(model, encode(*parts["train"]), encode(*parts["validation"]), config)
    predicted = predict_heads(model, tasks, encode(*parts[split]))
    errors_T = [np.mean((predicted[task.name] - parts[split][1][:, k]) ** 2) for k, task in enumerate(tasks)]
    return float(np.mean(np.asarray(errors_T) / variance_T))


def label_correlation(correlation: float, seeds: Iterable[int], setting: Setting) -> float:
    """Give Pearson's correlation of the two labels, mean over seeds."""
    found = []
    for seed in seeds:
        pair = TaskPair.draw(correlation, seed=seed, width=setting.width, waves=setting.waves)
        _, y_NT = pair.sample(setting.rows, np.random.default_rng(seed + 1))
        found.append(np.corrcoef(y_NT.T)[0, 1])
    return float(np.mean(found))


def losses(jobs: Sequence[tuple[Cell, int, str]], workers: int, on_run: Callable[[], None]) -> list[float]:
    """Run every job, each on one thread; gives losses in their order."""
    with multiprocessing.get_context("spawn").Pool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = []
        for loss in pool.imap(_loss, jobs):
            found.append(loss)
            on_run()
    return found


def main(
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("docs/benchmarks/synthetic.md"),
    runs: Annotated[int, typer.Option(min=2, help="Seeds of every cell of the table.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each of one thread.")] = 2,
) -> None:
    """Tune a learning rate for each architecture, run all cells and write the page."""
    begin = time.perf_counter()
    correlations = (0.5, 0.9, 1.0)
    with Progress() as bar:
        tables = [_Table.run(setting, correlations, runs, workers, bar) for setting in SETTINGS]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(_page(tables, runs, (time.perf_counter() - begin) / 60)) + "\n")


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Losses of one setting, ``[runs]`` for each architecture and correlation, the same seeds in each."""

    setting: Setting
    correlations: tuple[float, ...]
    labels: tuple[float, ...]
    rates: dict[str, float]
    losses: dict[tuple[str, float], np.ndarray[tuple[int], np.dtype[np.float64]]]

    @classmethod
    def run(cls, setting: Setting, correlations: tuple[float, ...], runs: int, workers: int, bar: Progress) -> "_Table":
        rates = _tuned_rates(setting, correlations, workers, bar)
        cells = [
            Cell(setting=setting, arch=arch, correlation=correlation, learning_rate=rates[arch])
            for arch in ARCHITECTURES
            for correlation in correlations
        ]
        jobs = [(cell, seed, "test") for cell in cells for seed in range(runs)]
        task = bar.add_task(setting.name, total=len(jobs))
        found = np.reshape(losses(jobs, workers, lambda: bar.advance(task)), (len(cells), runs))
        return cls(
            setting=setting,
            correlations=correlations,
            labels=tuple(label_correlation(correlation, range(runs), setting) for correlation in correlations),
            rates=rates,
            losses={(cell.arch, cell.correlation): row for cell, row in zip(cells, found, strict=True)},
        )

    def gap(self, arch: str, correlation: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Give loss(p) - loss(1), run by run."""
        return self.losses[arch, correlation] - self.losses[arch, 1.0]


def _tuned_rates(setting: Setting, correlations: Sequence[float], workers: int, bar: Progress) -> dict[str, float]:
    cells = [
        Cell(setting=setting, arch=arch, correlation=correlation, learning_rate=rate)
        for arch in ARCHITECTURES
        for rate in RATES
        for correlation in (correlations[0], correlations[-1])
    ]
    jobs = [(cell, seed, "validation") for cell in cells for seed in TUNING_SEEDS]
    task = bar.add_task(f"{setting.name}: learning rates", total=len(jobs))
    found = np.reshape(losses(jobs, workers, lambda: bar.advance(task)), (len(ARCHITECTURES), len(RATES), -1))
    return {arch: RATES[int(row.mean(axis=1).argmin())] for arch, row in zip(ARCHITECTURES, found, strict=True)}


def _loss(job: tuple[Cell, int, str]) -> float:
    cell, seed, split = job
    return test_loss(cell, seed, split=split)


def _rows(setting: Setting) -> dict[str, int]:
    return {"train": setting.rows, "validation": setting.held_out, "test": setting.held_out}


def _page(tables: Sequence[_Table], runs: int, minutes: float) -> Iterator[str]:
    yield from ()


if __name__ == "__main__":
    typer.run(main)
