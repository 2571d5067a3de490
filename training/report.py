"""What a model is worth on held-out impressions, from the very answers that the service would give."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from contract.fusion import Fusion
from contract.tasks import BinaryTask, CountTask, DurationTask, RegressionTask, Task
from training import metrics
from training.models.entire_space import funnels, joint_label

__all__ = ["Impressions", "amount_report", "full_report", "head_reports", "main_label", "ranking_report", "task_report"]

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """Held-out rows, flat.

    Args:
        lists: List of each row, ``[N]``.
        users: User of each row, ``[N]``.
        labels: Label name to ``[N]``, NaN where it is not defined.
        heads: Head name to predictions ``[N]``.
        numbers: Number field to its raw values ``[N]``, for formulas.
        naive_seconds: Duration to its seconds before they were debiased, ``[N]``; a graph does not give those.
    """

    lists: Array
    users: Array
    labels: Mapping[str, Array]
    heads: Mapping[str, Array]
    numbers: Mapping[str, Array]
    naive_seconds: Mapping[str, Array] = field(default_factory=dict)


def full_report(
    rows: Impressions, tasks: tuple[Task, ...], fusion: Fusion, baselines: Mapping[str, Fusion]
) -> dict[str, Any]:
    """Report every head, the fused ranking and the baselines."""
    heads = head_reports(rows, tasks)
    main = main_label(tasks)
    return {
        "rows": len(rows.lists),
        "lists": len(np.unique(rows.lists)),
        "heads": heads,
        "fused": {
            "formula": fusion.formula.text,
            "relevance": main,
            **ranking_report(rows, fused_scores(rows, fusion), main),
        },
        "baselines": {
            name: {
                "formula": baseline.formula.text,
                **ranking_report(rows, fused_scores(rows, baseline), main),
            }
            for name, baseline in baselines.items()
        },
    }


def head_reports(rows: Impressions, tasks: tuple[Task, ...]) -> dict[str, Any]:
    """Report every task by its name, and every joint probability by its head's, over all impressions."""
    joint = {
        task.joint: joint_label_of(task, tasks, rows.labels)
        for task in tasks
        if isinstance(task, BinaryTask) and task.joint is not None
    }
    reports = {task.name: task_report(rows, task) for task in tasks}
    with_joint = replace(rows, labels={**rows.labels, **joint})
    return reports | {head: binary_report(with_joint, head) for head in joint}


def joint_label_of(task: BinaryTask, tasks: tuple[Task, ...], labels: Mapping[str, Array]) -> Array:
    """Give the label of "this and all that it is given", ``[N]``, NaN where it is not known."""
    stages = (task.name, *funnels({each.name: each for each in tasks})[task.name])
    tensors = {name: torch.as_tensor(np.array(labels[name])) for name in stages}
    return joint_label(stages, tensors).numpy()


def task_report(rows: Impressions, task: Task) -> dict[str, Any]:
    """Report one task by its kind."""
    if isinstance(task, DurationTask):
        return duration_report(rows, task.name)
    if isinstance(task, CountTask | RegressionTask):
        return amount_report(rows, task.name, task.kind)
    return binary_report(rows, task.name)


def main_label(tasks: tuple[Task, ...]) -> str:
    """Name the label that a ranking is judged by: the first binary one that every row has."""
    binary = [task.name for task in tasks if isinstance(task, BinaryTask)]
    whole = [task.name for task in tasks if task.name in binary and task.given is None]
    return (whole or binary or [tasks[0].name])[0]


def binary_report(rows: Impressions, task: str) -> dict[str, Any]:
    """AUC, GAUC (each weighting named), log loss, calibration and NDCG@10 of one probability."""
    defined = np.isfinite(rows.labels[task])
    labels, p = rows.labels[task][defined], rows.heads[task][defined]
    lists, users = rows.lists[defined], rows.users[defined]
    by_list = metrics.grouped_auc(labels, p, lists, weighting="uniform")
    return {
        "kind": "binary",
        "rows": int(defined.sum()),
        "rate": float(labels.mean()),
        "auc": metrics.auc(labels, p),
        "gauc_by_user_row_weighted": metrics.grouped_auc(labels, p, users, weighting="rows").value,
        "gauc_by_user_uniform": metrics.grouped_auc(labels, p, users, weighting="uniform").value,
        "auc_within_lists": by_list.value,
        "lists_with_both_classes": by_list.groups,
        "lists_skipped": by_list.skipped,
        "ndcg": metrics.ndcg_at(labels, p, lists, k=None),
        "ndcg_at_10": metrics.ndcg_at(labels, p, lists, k=10),
        "log_loss": metrics.log_loss(labels, p),
        "expected_calibration_error": metrics.expected_calibration_error(labels, p),
        "predicted_over_observed": float(p.mean() / max(1e-12, labels.mean())),
        "calibration_curve": metrics.calibration_curve(labels, p),
    }


def duration_report(rows: Impressions, task: str) -> dict[str, Any]:
    """MAE, XAUC, Spearman and bias of one duration, in seconds, and of its logarithm.

    Bias is TRE, below 0 is too short, before debiasing too where that is known; mean predicted over mean observed
    (PGR); and a table by deciles of predicted seconds, for a total may be right and its parts wrong.
    """
    defined = np.isfinite(rows.labels[task])
    truth = rows.labels[task][defined].astype(np.float64)
    seconds = rows.heads[f"{task}_seconds"][defined].astype(np.float64)
    log = rows.heads[f"log_{task}"][defined].astype(np.float64)
    return {
        "kind": "duration",
        "rows": int(defined.sum()),
        "mean_seconds": float(truth.mean()),
        "mae_seconds": metrics.mean_absolute_error(truth, seconds),
        "mae_log": metrics.mean_absolute_error(np.log1p(truth), log),
        "mae_log_of_a_constant": metrics.mean_absolute_error(
            np.log1p(truth), np.full_like(truth, np.median(np.log1p(truth)))
        ),
        "xauc": metrics.xauc(truth, seconds),
        "spearman": metrics.spearman(truth, seconds),
        "bias_tre": metrics.duration_bias(truth, seconds),
        **_bias_before(rows, task, truth, defined),
        "predicted_over_observed": metrics.predicted_over_observed(truth, seconds),
        "bias_by_predicted_seconds": metrics.bias_table(truth, seconds),
        "rms_log": float(np.sqrt(np.mean((np.log1p(truth) - log) ** 2))),
    }


def _bias_before(rows: Impressions, task: str, truth: Array, defined: Array) -> dict[str, float]:
    if task not in rows.naive_seconds:
        return {}
    naive = rows.naive_seconds[task][defined].astype(np.float64)
    return {"bias_tre_without_debias": metrics.duration_bias(truth, naive)}


def amount_report(rows: Impressions, task: str, kind: str) -> dict[str, Any]:
    """MAE, bias, XAUC and Spearman of a count or a value, in its own unit."""
    defined = np.isfinite(rows.labels[task])
    truth = rows.labels[task][defined].astype(np.float64)
    predicted = rows.heads[task][defined].astype(np.float64)
    return {
        "kind": kind,
        "rows": int(defined.sum()),
        "mean": float(truth.mean()),
        "mae": metrics.mean_absolute_error(truth, predicted),
        "mae_of_a_constant": metrics.mean_absolute_error(truth, np.full_like(truth, np.median(truth))),
        "bias": float((predicted - truth).mean()),
        "predicted_over_observed": metrics.predicted_over_observed(truth, predicted),
        "bias_by_predicted": metrics.bias_table(truth, predicted),
        "xauc": metrics.xauc(truth, predicted),
        "spearman": metrics.spearman(truth, predicted),
    }


def ranking_report(rows: Impressions, scores: Array, label: str) -> dict[str, float]:
    """How well *scores* order each list by a binary label."""
    defined = np.isfinite(rows.labels[label])
    labels, kept, lists = rows.labels[label][defined], scores[defined], rows.lists[defined]
    return {
        "ndcg_at_10": metrics.ndcg_at(labels, kept, lists, k=10),
        "auc_within_lists": metrics.grouped_auc(labels, kept, lists, weighting="uniform").value,
        "gauc_by_user_row_weighted": metrics.grouped_auc(labels, kept, rows.users[defined], weighting="rows").value,
    }


def fused_scores(rows: Impressions, fusion: Fusion) -> Array:
    """Score list by list, as the service does: listwise functions must not look over a list's edge."""
    values = {name: rows.heads.get(name, rows.numbers.get(name)) for name in fusion.reads}
    edges = np.flatnonzero(np.r_[True, rows.lists[1:] != rows.lists[:-1], True])
    scores, _ = fusion.score(values, len(rows.lists), lists=edges)
    return scores
