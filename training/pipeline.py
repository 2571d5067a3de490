"""A training run from a prepared dataset to a published bundle, step by step."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from contract.manifest import Manifest
from contract.tasks import BinaryTask, CountTask, DurationTask, Head, RegressionTask, Task, heads_of
from training.calibrate import fit_platt
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import TrainConfig
from training.data.columns import EncodedSplit, encode_split
from training.data.format import Dataset, LabelDeclaration
from training.data.leaks import refuse_leaks
from training.data.schema import fit_schema
from training.debias import default_debias, fit_debias
from training.errors import InvalidOption
from training.export import ServingModule, export_graph, input_specs, output_specs
from training.golden import golden_rows
from training.heads.base import LabelSample
from training.heads.registry import fit_task
from training.impressions import score_impressions, score_split
from training.models.base import MultiTaskModel
from training.models.registry import build_model, find_architecture
from training.pictures import draw_report
from training.provenance import provenance
from training.report import full_report
from training.trainer import fit, naive_seconds, predict

__all__ = ["Progress", "evaluate_bundle", "export_checkpoint", "headline", "train_and_publish", "without_nan"]

_SAMPLE_ROWS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Who is told how far a run is."""

    stage: Callable[[str, int], None] = lambda name, rows: None
    advance: Callable[[int], None] = lambda rows: None


def train_and_publish(
    dataset: Dataset,
    config: TrainConfig,
    models: Path,
    *,
    name: str,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Bundle:
    """Fit the schema, encode, train, export, check, report and publish.

    Args:
        dataset: Prepared, with the splits train, validation and test.
        config: The whole run.
        models: Folder of models; the bundle becomes its next version of *name*.
        checkpoint: File to keep the trained model in, for a later :func:`export_checkpoint`.

    Raises:
        TrainingError: Of any kind; nothing is published then.
    """
    progress = progress or Progress()
    torch.manual_seed(config.seed)
    with tempfile.TemporaryDirectory(prefix="fulcrum-columns-") as scratch:
        progress.stage("encoding", 0)
        schema = fit_schema(dataset)
        splits = {
            split: encode_split(dataset, split, schema, Path(scratch) / split)
            for split in ("train", "validation", "test")
        }
        refuse_leaks(schema, splits["train"], dataset.info.labels, allowed=config.allow_leaks)
        _cap_durations(dataset, config, splits["train"])
        tasks = _fitted_tasks(dataset, config, schema, splits["train"])
        _check_weights(config, tasks)
        model = build_model(config.arch, schema, tasks, config.model)
        progress.stage("training", config.epochs * splits["train"].num_rows)
        history = fit(model, splits["train"], splits["validation"], config, on_batch=progress.advance)
        progress.stage("exporting", 0)
        tasks = _debiased(tasks, model, config, splits["validation"])
        trained = Checkpoint(
            config=config,
            features=schema,
            tasks=tasks,
            heads=_calibrated(tasks, model, splits["validation"]),
            history=tuple(vars(epoch) for epoch in history),
            model=model,
        )
        if checkpoint is not None:
            save_checkpoint(trained, checkpoint)
        return _publish(trained, dataset, splits["test"], models, name)


def export_checkpoint(trained: Checkpoint, dataset: Dataset, models: Path, *, name: str) -> Bundle:
    """Export a trained model again, check it, report it on the test split and publish it.

    Args:
        trained: From :func:`training.checkpoint.load_checkpoint`.
        dataset: Gives golden rows, item table and test split.

    Raises:
        TrainingError: Of any kind; nothing is published then.
    """
    with tempfile.TemporaryDirectory(prefix="fulcrum-columns-") as scratch:
        test = encode_split(dataset, "test", trained.features, Path(scratch))
        return _publish(trained, dataset, test, models, name)


def _publish(trained: Checkpoint, dataset: Dataset, test: EncodedSplit, models: Path, name: str) -> Bundle:
    with publish_bundle(models, name) as draft:
        _write_bundle(draft, name, dataset, trained, test)
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


def _cap_durations(dataset: Dataset, config: TrainConfig, train: EncodedSplit) -> None:
    """Cut long durations of the training rows, in the scratch file itself."""
    for label in dataset.info.labels:
        if label.kind == "duration" and config.max_seconds is not None:
            column = train.labels[label.name]
            np.minimum(column, np.float32(config.max_seconds), out=column)


def _check_weights(config: TrainConfig, tasks: tuple[Task, ...]) -> None:
    known = [task.name for task in tasks]
    if strange := sorted(config.task_weights.keys() - set(known)):
        raise InvalidOption(f"there is no task {strange[0]!r} to weigh", fix=f"tasks are: {', '.join(known)}")


def _fitted_tasks(
    dataset: Dataset, config: TrainConfig, schema: FeatureSchema, train: EncodedSplit
) -> tuple[Task, ...]:
    """Give the declared tasks as the architecture serves them, with what their heads need fitted on train."""
    declared = [_declared_task(label, config) for label in dataset.info.labels]
    fitted = [fit_task(task, _label_sample(task, schema, train)) for task in declared]
    return find_architecture(config.arch).model.adapt_tasks(fitted)


def _declared_task(label: LabelDeclaration, config: TrainConfig) -> Task:
    if label.kind == "duration":
        return DurationTask(name=label.name, given=label.given, objective=config.objective)
    plain: Mapping[str, type[BinaryTask] | type[CountTask] | type[RegressionTask]] = {
        "binary": BinaryTask,
        "count": CountTask,
        "regression": RegressionTask,
    }
    return plain[label.kind](name=label.name, given=label.given)


def _label_sample(task: Task, schema: FeatureSchema, train: EncodedSplit) -> LabelSample:
    labels = np.asarray(train.labels[task.name])
    rows = np.flatnonzero(np.isfinite(labels))
    rows = rows[:: 1 + len(rows) // _SAMPLE_ROWS]
    return LabelSample(labels=labels[rows], candidate_dense=np.asarray(train.candidate.dense[rows]), schema=schema)


def _debiased(
    tasks: tuple[Task, ...], model: MultiTaskModel, config: TrainConfig, held_out: EncodedSplit
) -> tuple[Task, ...]:
    kind = config.debias or default_debias(config.objective.kind)
    return tuple(
        task.model_copy(
            update={"debias": fit_debias(kind, held_out.labels[task.name], naive_seconds(model, task, held_out))}
        )
        if isinstance(task, DurationTask)
        else task
        for task in tasks
    )


def _calibrated(tasks: tuple[Task, ...], model: MultiTaskModel, held_out: EncodedSplit) -> tuple[Head, ...]:
    """Give the heads; with a map to probabilities where the architecture's loss makes none."""
    heads = tuple(head for task in tasks for head in heads_of(task))
    if model.is_calibrated:
        return heads
    raw = predict(model, held_out)
    scores = {head.name: 1.0 / (1.0 + np.exp(-raw[head.task][:, 0])) for head in heads if head.name in raw}
    return tuple(
        head.model_copy(update={"calibration": fit_platt(held_out.labels[head.task], scores[head.name])})
        if head.unit == "probability" and head.name in scores
        else head
        for head in heads
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
) -> None:
    config, schema, tasks, model = trained.config, trained.features, trained.tasks, trained.model
    heads = trained.heads
    profile = _default_profile(dataset, heads, schema)
    model_path = draft.path / MODEL_FILE
    specs = input_specs(schema)
    export_graph(ServingModule(model, tasks, [spec.name for spec in specs]), schema, model_path)
    golden_rows(dataset, Encoder(schema), model_path, heads).save(draft.path / GOLDEN_FILE)
    naive = {task.name: naive_seconds(model, task, test) for task in tasks if isinstance(task, DurationTask)}
    report = _report(model_path, heads, tasks, profile, dataset, "test", test, schema, naive=naive)
    report["training"] = list(trained.history)
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
            provenance=provenance(
                config.model_dump(mode="json"), data_fingerprint=dataset.fingerprint, seed=config.seed
            ),
            metrics=headline(report),
        )
    )


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
