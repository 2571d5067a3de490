"""A training run from a prepared dataset to a published bundle, step by step."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from contract.bundle import (
    GOLDEN_FILE,
    ITEMS_FILE,
    MODEL_FILE,
    REPORT_FILE,
    Bundle,
    BundleDraft,
    publish_bundle,
)
from contract.encoding import Encoder
from contract.errors import FormulaError
from contract.features import SIDES, FeatureSchema
from contract.fusion import Fusion, FusionProfile, compile_fusion
from contract.manifest import Manifest, PreActivation, TensorSpec
from contract.tasks import DurationTask, Head, Task
from training.balancing.base import checked_options
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import TrainConfig
from training.data.batches import batches
from training.data.columns import EncodedSplit, encode_split
from training.data.format import Dataset
from training.data.leaks import refuse_leaks
from training.data.schema import fit_schema
from training.export import ServingModule, export_graph, input_specs, output_specs
from training.fitting import calibrated_heads, cap_durations, debiased_tasks, fitted_tasks
from training.gates import gate_statistics
from training.golden import golden_rows
from training.impressions import score_impressions, score_split
from training.models.info_select import InfoSelect
from training.models.registry import build_model
from training.pictures import draw_report
from training.preactivation import export_halves
from training.pretrained import start_pretrained
from training.provenance import provenance
from training.quantising.bundle import quantise_bundle, whole_outputs
from training.quantising.checks import Allowance, Cost, check_noise, check_ranking
from training.report import full_report
from training.trainer import fit, naive_seconds

__all__ = [
    "Progress",
    "evaluate_bundle",
    "export_checkpoint",
    "headline",
    "train_and_publish",
    "without_nan",
]

_MEASURED_LISTS, _MEASURED_BATCHES = 64, 16
"""Lists that the ranges of 8-bit activations are measured on: 64 at a time, 16 times."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Who is told how far a run is."""

    stage: Callable[[str, int], None] = lambda name, rows: None
    advance: Callable[[int], None] = lambda rows: None


@dataclass(frozen=True)
class _Int8:
    """What 8-bit weights take: rows to measure ranges on, and what they may cost."""

    validation: EncodedSplit
    allowed: Allowance


def train_and_publish(
    dataset: Dataset,
    config: TrainConfig,
    models: Path,
    *,
    name: str,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    int8: Allowance | None = None,
) -> Bundle:
    """Fit the schema, encode, train, export, check, report and publish.

    Args:
        dataset: Prepared, with the splits train, validation and test.
        config: The whole run.
        models: Folder of models; the bundle becomes its next version of *name*.
        checkpoint: File to keep the trained model in, for a later :func:`export_checkpoint`.
        int8: Publish 8-bit weights, where they cost no more than this.

    Raises:
        TrainingError: Of any kind; nothing is published then.
    """
    progress = progress or Progress()
    checked_options(config.balancer, config.balancer_options)  # before minutes of encoding, not after
    torch.manual_seed(config.seed)
    with tempfile.TemporaryDirectory(prefix="fulcrum-columns-") as scratch:
        progress.stage("encoding", 0)
        schema = fit_schema(dataset)
        splits = {
            split: encode_split(dataset, split, schema, Path(scratch) / split)
            for split in ("train", "validation", "test")
        }
        refuse_leaks(schema, splits["train"], dataset.info.labels, allowed=config.allow_leaks)
        cap_durations(dataset, config, splits["train"])
        declared = fitted_tasks(dataset, config, schema, splits["train"])
        model = build_model(config.arch, schema, declared, config.model)
        start_pretrained(model, dataset, schema)
        progress.stage("training", config.epochs * splits["train"].num_rows)
        history = fit(model, splits["train"], splits["validation"], config, on_batch=progress.advance)
        progress.stage("exporting", 0)
        tasks = debiased_tasks(tuple(model.task_specs.values()), model, config, splits["validation"])
        trained = Checkpoint(
            config=config,
            features=schema,
            tasks=tasks,
            heads=calibrated_heads(tasks, model, splits["validation"]),
            history=tuple(vars(epoch) for epoch in history),
            model=model,
        )
        if checkpoint is not None:
            save_checkpoint(trained, checkpoint)
        return _publish(
            trained, dataset, splits["test"], models, name, _Int8(splits["validation"], int8) if int8 else None
        )


def export_checkpoint(
    trained: Checkpoint, dataset: Dataset, models: Path, *, name: str, int8: Allowance | None = None
) -> Bundle:
    """Export a trained model again, check it, report it on the test split and publish it.

    Args:
        trained: From :func:`training.checkpoint.load_checkpoint`.
        dataset: Gives golden rows, item table and test split.
        int8: As for :func:`train_and_publish`.

    Raises:
        TrainingError: Of any kind; nothing is published then.
    """
    with tempfile.TemporaryDirectory(prefix="fulcrum-columns-") as scratch:
        test = encode_split(dataset, "test", trained.features, Path(scratch) / "test")
        if int8 is None:
            return _publish(trained, dataset, test, models, name, None)
        validation = encode_split(dataset, "validation", trained.features, Path(scratch) / "validation")
        return _publish(trained, dataset, test, models, name, _Int8(validation, int8))


def _publish(
    trained: Checkpoint,
    dataset: Dataset,
    test: EncodedSplit,
    models: Path,
    name: str,
    int8: "_Int8 | None",
) -> Bundle:
    with publish_bundle(models, name) as draft:
        _write_bundle(draft, name, dataset, trained, test, int8)
    assert draft.bundle is not None  # noqa: S101 - publish_bundle raises where it cannot publish
    return draft.bundle


def evaluate_bundle(bundle: Bundle, dataset: Dataset, *, split: str = "test") -> dict[str, Any]:
    """Report a published bundle on a split of a prepared dataset."""
    manifest = bundle.manifest
    with tempfile.TemporaryDirectory(prefix="fulcrum-columns-") as scratch:
        encoded = encode_split(dataset, split, manifest.features, Path(scratch))
        return _report(
            bundle.model_path,
            manifest.heads,
            manifest.tasks,
            manifest.fusion,
            dataset,
            split,
            encoded,
            manifest.features,
        )


def _default_profile(dataset: Dataset, heads: tuple[Head, ...], schema: FeatureSchema) -> FusionProfile:
    """Give the data set's formula, or the first head alone where the architecture does not serve all that it reads."""
    profile = FusionProfile(formula=dataset.info.default_formula)
    try:
        compile_fusion(profile, _variables(heads, schema))
    except FormulaError:
        return FusionProfile(formula=heads[0].name)
    return profile


def _variables(heads: tuple[Head, ...], schema: FeatureSchema) -> dict[str, str]:
    numbers = {field.name: "field" for side in SIDES for field in schema.numbers_on(side)}
    return numbers | {head.name: "head" for head in heads}


def _write_bundle(
    draft: BundleDraft,
    name: str,
    dataset: Dataset,
    trained: Checkpoint,
    test: EncodedSplit,
    int8: "_Int8 | None",
) -> None:
    config, schema, tasks, model = trained.config, trained.features, trained.tasks, trained.model
    heads = trained.heads
    profile = _default_profile(dataset, heads, schema)
    model_path = draft.path / MODEL_FILE
    specs = input_specs(schema)
    module = ServingModule(model, tasks, [spec.name for spec in specs])
    export_graph(module, schema, model_path)
    # Shares are for catalogue items: without a table of those nothing would read the two graphs.
    halves = export_halves(module, schema, draft.path) if dataset.items_path is not None else None
    naive = {task.name: naive_seconds(model, task, test) for task in tasks if isinstance(task, DurationTask)}
    reported = partial(_report, model_path, heads, tasks, profile, dataset, "test", test, schema, naive=naive)
    cost = None
    if int8 is not None:
        halves, cost = _quantise(draft.path, halves, specs, int8, reported)
    golden_rows(dataset, Encoder(schema), model_path, heads).save(draft.path / GOLDEN_FILE)
    report = reported()
    if cost is not None:
        report["quantisation"] = cost.model_dump()
    report["training"] = list(trained.history)
    if gates := gate_statistics(model, test):
        report["gates"] = gates.model_dump(mode="json")
    if isinstance(model, InfoSelect):
        report["selection"] = model.selection()
    report["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    report["notes"] = dataset.info.notes
    (draft.path / REPORT_FILE).write_text(json.dumps(without_nan(report), indent=1, allow_nan=False) + "\n")
    draw_report(report, draft.path)
    if dataset.items_path is not None:
        shutil.copyfile(dataset.items_path, draft.path / ITEMS_FILE)
    draft.write_manifest(
        Manifest(
            name=name,
            architecture=config.arch,
            inputs=specs,
            outputs=output_specs(tasks),
            features=schema,
            tasks=tasks,
            heads=heads,
            fusion=profile,
            files=draft.files(),
            preactivation=halves,
            precision="float32" if int8 is None else "int8",
            provenance=provenance(
                config.model_dump(mode="json"), data_fingerprint=dataset.fingerprint, seed=config.seed
            ),
            metrics=headline(report),
        )
    )


def _quantise(
    folder: Path,
    halves: PreActivation | None,
    specs: tuple[TensorSpec, ...],
    int8: "_Int8",
    reported: Callable[[], dict[str, Any]],
) -> tuple[PreActivation | None, Cost]:
    """Quantise the graphs in place, and hold them against what they were.

    Raises:
        QuantisationError: When that costs more than is allowed.
    """
    rows = [batch.inputs for batch in islice(batches(int8.validation, requests=_MEASURED_LISTS), _MEASURED_BATCHES)]
    before, float_report = whole_outputs(folder / MODEL_FILE, rows), reported()
    halves = quantise_bundle(folder, halves, specs, rows)
    cost = check_noise(before, whole_outputs(folder / MODEL_FILE, rows), int8.allowed)
    losses = check_ranking(float_report["heads"], reported()["heads"], int8.allowed)
    return halves, Cost(noise=cost.noise, auc_loss=losses)


def _report(
    model_path: Path,
    heads: tuple[Head, ...],
    tasks: tuple[Task, ...],
    profile: FusionProfile,
    dataset: Dataset,
    name: str,
    split: EncodedSplit,
    schema: FeatureSchema,
    *,
    naive: Mapping[str, NDArray[np.float32]] | None = None,
) -> dict[str, Any]:
    fusion = compile_fusion(profile, _variables(heads, schema))
    baselines: dict[str, Fusion] = {
        label: compile_fusion(FusionProfile(formula=formula), _variables((), schema))
        for label, formula in dataset.info.baselines.items()
    }
    reads = fusion.reads.union(*(baseline.reads for baseline in baselines.values()))
    scored = score_split(model_path, heads, split)
    rows = replace(score_impressions(dataset, name, split, schema, scored, reads), naive_seconds=naive or {})
    return {"dataset": dataset.info.name, "split": name, **full_report(rows, tasks, fusion, baselines)}


def without_nan(value: Any) -> Any:
    """Replace what is not a number by None: NaN has no place in JSON."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def headline(report: dict[str, Any]) -> dict[str, float]:
    """Pick the numbers that belong into the manifest."""
    chosen = ("auc", "gauc_by_user_row_weighted", "log_loss", "mae_seconds", "xauc", "bias_tre")
    picked = {
        f"{task}.{metric}": values[metric]
        for task, values in report["heads"].items()
        for metric in chosen
        if metric in values
    }
    picked["fused.ndcg_at_10"] = report["fused"]["ndcg_at_10"]
    return {name: float(value) for name, value in picked.items() if np.isfinite(value)}
