"""Every architecture on every data set, over seeds: ``make bench-models`` runs it, ``make models-page`` draws it.

python -m training.benchmarks.models --sets census-b kuairand --minutes 60
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import training.models
from contract.durations import Ziln
from training.benchmarks.campaign import TUNING_SEED, Job, Results, prepared, run_jobs
from training.benchmarks.lightgbm_runs import ARCH, lightgbm_run
from training.config import OptimConfig, TrainConfig
from training.fitting import declared_tasks
from training.models.base import ModelConfig
from training.models.registry import architectures

__all__ = ["RECIPES", "Recipe", "main"]

RESULTS = Path("docs/benchmarks/models.jsonl")
_ = training.models  # fills the registry


# Where experts are counted a group, about as many in all as the others have.
_GROUPED = {"options": {"task_experts": 1, "shared_experts": 2}}
_SIZES: dict[str, dict[str, Any]] = {
    "cgc": _GROUPED,
    "ple": _GROUPED,
    "stem": _GROUPED,
    "home": {"options": {"task_experts": 1, "shared_experts": 1, "group_experts": 1}},
    "adatt": {"num_experts": 2},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one data set is run.

    Args:
        grid: Learning rates, each tried once; the whole tuning budget of an architecture.
        seeds: Runs of the table.
    """

    base: TrainConfig
    grid: tuple[float, ...]
    seeds: int

    def job(self, data: str, stage: str, arch: str, seed: int, learning_rate: float) -> Job:
        """Name one run."""
        optim = self.base.optim.model_copy(update={"learning_rate": learning_rate})
        model = self.base.model.model_copy(update=_SIZES.get(arch, {}))
        changes = {"arch": arch, "seed": seed, "optim": optim, "model": model, "data": data}
        config = self.base.model_copy(update=changes)
        return Job(data=data, stage=stage, config=config)


_SMALL = ModelConfig(embedding_dim=8, hidden=(64, 32), tower_hidden=(16,), num_experts=4, dropout=0.2)
_LISTS = ModelConfig(embedding_dim=16, hidden=(128, 64), tower_hidden=(32,), num_experts=4, dropout=0.2)
_CENSUS = Recipe(
    base=TrainConfig(
        data="census-a",
        arch="mmoe",
        epochs=20,
        model=_SMALL,
        optim=OptimConfig(batch_requests=1024, averaging=0.995, patience=2),
    ),
    grid=(1e-3, 2e-3),
    seeds=10,
)
_KUAIRAND = Recipe(
    base=TrainConfig(
        data="kuairand",
        arch="mmoe",
        epochs=20,
        model=_SMALL.model_copy(update={"dropout": 0.3}),
        optim=OptimConfig(batch_requests=32, averaging=0.99, patience=3),
    ),
    grid=(2e-4, 1e-3),
    seeds=10,
)
_EBNERD = Recipe(
    base=TrainConfig(
        data="ebnerd",
        arch="mmoe",
        epochs=10,
        model=_LISTS,
        optim=OptimConfig(batch_requests=64, averaging=0.998),
        objective=Ziln(),
    ),
    grid=(3e-4, 1e-3),
    seeds=5,
)
RECIPES = {
    "census-b": _CENSUS,
    "census-b-education": _CENSUS,
    "kuairand": _KUAIRAND,
    "ebnerd": _EBNERD,
    "census-a": _CENSUS,
    "census-a-education": _CENSUS,
}


def main(
    sets: Annotated[list[str] | None, typer.Option(help=f"Some of: {', '.join(RECIPES)}.")] = None,
    archs: Annotated[list[str] | None, typer.Option(help="Architectures; all by default.")] = None,
    out: Annotated[Path, typer.Option(help="File of JSON lines; finished runs in it are not run again.")] = RESULTS,
    cache: Annotated[Path, typer.Option(help="Folder for prepared data.")] = Path("var/bench"),
    workers: Annotated[int, typer.Option(min=1, help="Processes, each of one thread.")] = 2,
    minutes: Annotated[float, typer.Option(help="No run begins after this time.")] = 600.0,
) -> None:
    """Run what is missing."""
    console, until = Console(stderr=True), time.monotonic() + 60.0 * minutes
    results, chosen = Results(out), list(archs or architectures())
    for name in sets or RECIPES:
        recipe = RECIPES[name]
        _lightgbm(name, recipe, results, cache)
        tuning = [recipe.job(name, "tune", arch, TUNING_SEED, rate) for rate in recipe.grid for arch in chosen]
        for job in run_jobs(tuning, results, cache=cache, workers=workers, until=until):
            console.print(f"{name} tune {job.config.arch} {job.config.optim.learning_rate:g}")
        finals = _final_jobs(name, recipe, results, chosen)
        for job in run_jobs(finals, results, cache=cache, workers=workers, until=until):
            console.print(f"{name} {job.config.arch} seed {job.config.seed}")


def _final_jobs(name: str, recipe: Recipe, results: Results, archs: Sequence[str]) -> Iterator[Job]:
    """Give the table's runs seed by seed, so that a campaign that is cut has the same seeds of each architecture."""
    rates = {arch: rate for arch in archs if (rate := _tuned(name, recipe, results, arch)) is not None}
    for seed in range(recipe.seeds):
        for arch, rate in rates.items():
            yield recipe.job(name, "final", arch, seed, rate)


def _tuned(name: str, recipe: Recipe, results: Results, arch: str) -> float | None:
    runs = results.of(name, "tune", arch)
    if len(runs) < len(recipe.grid):
        return None
    return float(runs[int(np.argmax([record["validation"] for record in runs]))]["learning_rate"])


def _lightgbm(name: str, recipe: Recipe, results: Results, cache: Path) -> None:
    missing = set(range(recipe.seeds)) - {record["seed"] for record in results.of(name, "final", ARCH)}
    if missing:
        loaded = prepared(name, cache)
        for seed in sorted(missing):
            results.add(lightgbm_run(name, "final", seed, loaded, declared_tasks(loaded.dataset)))


if __name__ == "__main__":
    typer.run(main)
