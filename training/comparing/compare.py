"""A whole comparison, step by step: match sizes, train, search weights, look, advise, write."""

import json
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median_high

import numpy as np

from contract.tasks import Task
from training.comparing.advice import advise
from training.comparing.capacity import TOLERANCE, dense_parameters, widened
from training.comparing.findings import Comparison, ContenderFindings, find
from training.comparing.gains import mean_gains_percent
from training.comparing.page import page
from training.comparing.pictures import draw
from training.comparing.relations import label_facts, relations, smallest_side
from training.comparing.runs import Contender, Material, Run, Runner
from training.comparing.weight_search import WeightSearch, search_weights, weight_grid
from training.config import TrainConfig
from training.data.columns import encode_split
from training.data.format import Dataset
from training.data.leaks import refuse_leaks
from training.data.schema import fit_schema
from training.errors import InvalidOption
from training.fitting import fitted_tasks
from training.models.base import ModelConfig
from training.models.registry import build_model, find_architecture
from training.pipeline import without_nan
from training.provenance import current_commit

__all__ = ["REFERENCE", "Plan", "compare", "named_architectures", "write_report"]

REFERENCE = "single_task"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare.

    Args:
        base: The run of every contender, but for its architecture, widths, weights and seed.
        architectures: Those to compare; the single-task reference comes on top.
        seeds: One or more; three and more tell differences from noise.
        dense_parameters: Size that every network is brought to; the middle one of the architectures as asked for
            when None.
        workers: Runs at once.
        command: That asked for it, for the page.
    """

    base: TrainConfig
    architectures: tuple[str, ...]
    seeds: tuple[int, ...]
    dense_parameters: int | None = None
    workers: int = 1
    command: str = ""

    def total_runs(self, tasks: int) -> int:
        """Count the runs at most: seeds of all, the weights' trials, and seeds of what they found."""
        trials = len(weight_grid([str(i) for i in range(tasks)])) if tasks > 1 else 0
        return (len(self.architectures) + 1 + bool(trials)) * len(self.seeds) + trials


def named_architectures(names: str) -> tuple[str, ...]:
    """Read names by commas, each once; the reference is compared with in any case.

    Raises:
        UnknownArchitecture: Naming those that exist.
        InvalidOption: When nothing is left to compare with the reference.
    """
    chosen = tuple(dict.fromkeys(name for each in names.split(",") if (name := each.strip()) not in ("", REFERENCE)))
    for name in chosen:
        find_architecture(name)
    if not chosen:
        raise InvalidOption(f"{names!r} names nothing to compare with {REFERENCE}", fix="name an architecture, as mmoe")
    return chosen


def compare(
    dataset: Dataset,
    plan: Plan,
    *,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_run: Callable[[Run], None] = lambda run: None,
) -> Comparison:
    """Train every architecture and the reference at one size over all seeds, and say what follows.

    Args:
        on_stage: Told what begins.
        on_run: Given every finished run.

    Raises:
        TrainingError: Of any kind.
    """
    with tempfile.TemporaryDirectory(prefix="fulcrum-columns-") as scratch:
        on_stage("encoding")
        schema = fit_schema(dataset)
        splits = {split: encode_split(dataset, split, schema, Path(scratch) / split) for split in SPLITS}
        refuse_leaks(schema, splits["train"], dataset.info.labels, allowed=plan.base.allow_leaks)
        material = Material(dataset=dataset, schema=schema, splits=splits)
        on_stage("matching sizes")
        sizes = _Sizes.of(plan, material)
        with Runner(material, workers=plan.workers, on_run=on_run) as runner:
            return _compared(dataset, plan, material, sizes, runner, on_stage)


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write ``report.md``, ``report.json`` and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(page(comparison, draw(comparison, folder)))
    plain = without_nan(comparison.model_dump(mode="json"))
    (folder / "report.json").write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n")


def _compared(
    dataset: Dataset,
    plan: Plan,
    material: Material,
    sizes: "_Sizes",
    runner: Runner,
    on_stage: Callable[[str], None],
) -> Comparison:
    reference = Contender(
        name=REFERENCE, config=sizes.config(REFERENCE), is_reference=True, note="a network of this size for each task"
    )
    sharing = [Contender(name=arch, config=sizes.config(arch)) for arch in plan.architectures]
    on_stage("training")
    runs = _by_name(runner.run([(each, seed) for seed in plan.seeds for each in (reference, *sharing)]))
    alone, kinds = runs[REFERENCE], sizes.kinds
    search = None
    weighable = _best_on_validation(sharing, runs, sizes) if len(kinds) > 1 else None
    if weighable is not None:
        on_stage("searching static weights")
        search = search_weights(weighable, alone, kinds, runner)
        if not search.keeps_equal_weights:
            on_stage("training with the weights found")
            tuned = _tuned(sizes, search)
            sharing.append(tuned)
            runs[tuned.name] = runner.run([(tuned, seed) for seed in plan.seeds])
    found = tuple(_findings(each, runs, sizes) for each in (reference, *sharing))
    comparison = _without_advice(dataset, plan, material, sizes, found, search)
    return comparison.model_copy(update={"advice": advise(comparison)})


def _best_on_validation(sharing: Sequence[Contender], runs: dict[str, list[Run]], sizes: "_Sizes") -> Contender | None:
    gains = {
        each.name: mean_gains_percent(runs[each.name], runs[REFERENCE], sizes.kinds, split="validation")
        for each in sharing
    }
    whole = [each for each in sharing if gains[each.name]]
    return max(whole, key=lambda each: float(np.mean(gains[each.name])), default=None)


def _tuned(sizes: "_Sizes", search: WeightSearch) -> Contender:
    config = sizes.config(search.architecture).model_copy(update={"task_weights": dict(search.found)})
    told = ", ".join(f"{task} {weight:.2g}" for task, weight in search.found.items())
    return Contender(name=f"{search.architecture} (tuned weights)", config=config, note=f"weights found: {told}")


def _by_name(runs: Sequence[Run]) -> dict[str, list[Run]]:
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.contender, []).append(run)
    return by_name


def _findings(contender: Contender, runs: dict[str, list[Run]], sizes: "_Sizes") -> ContenderFindings:
    networks = len(sizes.kinds) if contender.is_reference else 1
    return find(
        contender,
        runs[contender.name],
        runs[REFERENCE],
        sizes.kinds,
        dense_parameters=sizes.counts[contender.config.arch],
        networks=networks,
    )


def _without_advice(
    dataset: Dataset,
    plan: Plan,
    material: Material,
    sizes: "_Sizes",
    contenders: tuple[ContenderFindings, ...],
    search: WeightSearch | None,
) -> Comparison:
    labels = material.splits["train"].labels
    return Comparison(
        dataset=dataset.info.name,
        data_fingerprint=dataset.fingerprint,
        rows={split: each.num_rows for split, each in material.splits.items()},
        seeds=plan.seeds,
        epochs=plan.base.epochs,
        created=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=current_commit(),
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        command=plan.command,
        kinds=sizes.kinds,
        labels=label_facts(labels, dataset.info.labels),
        relations=relations(labels, dataset.info.labels),
        smallest_side=smallest_side(material.splits["test"].labels, dataset.info.labels),
        budget=sizes.budget,
        contenders=contenders,
        weight_search=search,
    )


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """Runs brought to one size.

    Args:
        kinds: Task to its kind, of the data set's own tasks.
        budget: Dense parameters that a network should have.
        configs: By architecture.
        counts: Dense parameters of one network, by architecture.
    """

    kinds: dict[str, str]
    budget: int
    configs: dict[str, TrainConfig]
    counts: dict[str, int]

    def config(self, arch: str) -> TrainConfig:
        return self.configs[arch]

    @classmethod
    def of(cls, plan: Plan, material: Material) -> "_Sizes":
        """Bring every architecture to the budget by its widths.

        Raises:
            UnknownArchitecture: Naming those that exist.
            InvalidOption: When widths cannot bring an architecture to the size of the others.
        """
        names = (*plan.architectures, REFERENCE)
        counters = {name: _Counter(name, plan, material) for name in names}
        budget = plan.dense_parameters or median_high(counters[name](plan.base.model) for name in plan.architectures)
        models = {name: widened(counters[name], plan.base.model, budget) for name in names}
        counts = {name: counters[name](models[name]) for name in names}
        for name, count in counts.items():
            if abs(count - budget) > TOLERANCE * budget:
                raise InvalidOption(
                    f"{name} has {count:,} dense parameters at best, the others {budget:,}", fix="leave it out"
                )
        # Where nothing is shared there are no gradients to compare.
        looks = {name: 0 if name == REFERENCE else plan.base.probe_gradients for name in names}
        configs = {
            name: plan.base.model_copy(update={"arch": name, "model": models[name], "probe_gradients": looks[name]})
            for name in names
        }
        kinds: dict[str, str] = {task.name: task.kind for task in counters[REFERENCE].tasks}
        return cls(kinds=kinds, budget=budget, configs=configs, counts=counts)


class _Counter:
    """Counts the dense parameters of one network of an architecture; the reference has one for each task."""

    def __init__(self, name: str, plan: Plan, material: Material) -> None:
        config = plan.base.model_copy(update={"arch": name})
        self.name, self.schema = name, material.schema
        self.tasks: tuple[Task, ...] = fitted_tasks(material.dataset, config, material.schema, material.splits["train"])

    def __call__(self, config: ModelConfig) -> int:
        count = dense_parameters(build_model(self.name, self.schema, self.tasks, config))
        return count // len(self.tasks) if self.name == REFERENCE else count
