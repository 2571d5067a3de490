"""What stands around a model's weights: tasks fitted on train, debiasing and calibration fitted on held-out rows."""

from collections.abc import Mapping

import numpy as np
import torch

from contract.durations import LogMse, Objective
from contract.features import FeatureSchema
from contract.tasks import BinaryTask, CountTask, DurationTask, Head, RegressionTask, Task, heads_of
from training.calibrate import fit_platt
from training.config import TrainConfig
from training.data.columns import EncodedSplit
from training.data.format import Dataset, LabelDeclaration
from training.debias import default_debias, fit_debias
from training.heads.base import LabelSample
from training.heads.registry import fit_task
from training.models.base import MultiTaskModel
from training.trainer import naive_seconds, predict

__all__ = ["calibrated_heads", "cap_durations", "debiased_tasks", "declared_tasks", "fitted_tasks"]

_SAMPLE_ROWS = 1_000_000


def cap_durations(dataset: Dataset, config: TrainConfig, train: EncodedSplit) -> None:
    """Cut long durations of the training rows, in the scratch file itself."""
    for label in dataset.info.labels:
        if label.kind == "duration" and config.max_seconds is not None:
            column = train.labels[label.name]
            np.minimum(column, np.float32(config.max_seconds), out=column)


def fitted_tasks(dataset: Dataset, config: TrainConfig, schema: FeatureSchema, train: EncodedSplit) -> tuple[Task, ...]:
    """Give the declared tasks, with what their heads need fitted on train."""
    declared = declared_tasks(dataset, config.objective)
    return tuple(fit_task(task, _label_sample(task, schema, train)) for task in declared)


def declared_tasks(dataset: Dataset, objective: Objective | None = None) -> tuple[Task, ...]:
    """Give the tasks that a data set declares, nothing fitted yet.

    Args:
        objective: What durations are trained on; squared error of the logarithm when None.
    """
    return tuple(_declared_task(label, objective or LogMse()) for label in dataset.info.labels)


def _declared_task(label: LabelDeclaration, objective: Objective) -> Task:
    if label.kind == "duration":
        return DurationTask(name=label.name, given=label.given, objective=objective)
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


def debiased_tasks(
    tasks: tuple[Task, ...], model: MultiTaskModel, config: TrainConfig, held_out: EncodedSplit
) -> tuple[Task, ...]:
    """Give the tasks with what debiases their durations fitted on held-out rows."""
    kind = config.debias or default_debias(config.objective.kind)
    return tuple(
        task.model_copy(
            update={"debias": fit_debias(kind, held_out.labels[task.name], naive_seconds(model, task, held_out))}
        )
        if isinstance(task, DurationTask)
        else task
        for task in tasks
    )


def calibrated_heads(tasks: tuple[Task, ...], model: MultiTaskModel, held_out: EncodedSplit) -> tuple[Head, ...]:
    """Give the heads; with a map to probabilities where the architecture's loss makes none."""
    heads = tuple(head for task in tasks for head in heads_of(task))
    if model.is_calibrated:
        return heads
    raw = predict(model, held_out)
    scores = {
        head.name: torch.sigmoid(torch.from_numpy(raw[head.task][:, 0])).numpy()
        for head in heads
        if head.unit == "probability" and head.name == head.task
    }
    return tuple(
        head.model_copy(update={"calibration": fit_platt(held_out.labels[head.task], scores[head.name])})
        if head.name in scores
        else head
        for head in heads
    )
