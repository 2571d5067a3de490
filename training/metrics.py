"""Ranking, probability and duration metrics in plain NumPy. Nothing here averages a NaN away in silence.

GAUC is the mean of AUC within groups. Which weights the mean has is in the name: ``rows`` weighs a group by its
rows (Zhu et al., KDD 2017, https://doi.org/10.1145/3219819.3219823), ``uniform`` counts every group once.
Groups with one class have no AUC; they are left out and counted.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GroupedAuc",
    "auc",
    "bias_table",
    "calibration_curve",
    "duration_bias",
    "expected_calibration_error",
    "grouped_auc",
    "log_loss",
    "mean_absolute_error",
    "ndcg_at",
    "predicted_over_observed",
    "spearman",
    "xauc",
]

Array = NDArray[Any]
_EDGE = 1e-7


def auc(labels: Array, scores: Array) -> float:
    """Area under the ROC curve, ties worth one half; NaN when only one class is there."""
    return float(_auc_by_group(labels, scores, np.zeros(len(labels), dtype=np.int64))[0][0])


@dataclass(frozen=True, kw_only=True)
class GroupedAuc:
    """A GAUC and what it was made of."""

    value: float
    groups: int
    skipped: int


def grouped_auc(labels: Array, scores: Array, groups: Array, *, weighting: Literal["rows", "uniform"]) -> GroupedAuc:
    """Mean AUC within groups.

    Args:
        labels: 0 or 1, ``[N]``.
        scores: Any real, ``[N]``.
        groups: Group of each row, ``[N]``.
        weighting: ``rows`` or ``uniform``, see the module.
    """
    if not len(labels):
        return GroupedAuc(value=float("nan"), groups=0, skipped=0)
    values, sizes = _auc_by_group(labels, scores, groups)
    has_both = ~np.isnan(values)
    if not has_both.any():
        return GroupedAuc(value=float("nan"), groups=0, skipped=len(values))
    weights = sizes[has_both] if weighting == "rows" else np.ones(int(has_both.sum()))
    return GroupedAuc(
        value=float(np.average(values[has_both], weights=weights)),
        groups=int(has_both.sum()),
        skipped=int((~has_both).sum()),
    )


def _auc_by_group(labels: Array, scores: Array, groups: Array) -> tuple[Array, Array]:
    """Mann–Whitney's U of every group in one sort; NaN where a class is absent. Also gives group sizes."""
    _, group = np.unique(groups, return_inverse=True)
    order = np.lexsort((scores, group))
    ranks = _average_ranks(scores[order], group[order])
    positive = labels[order] > 0.5
    sizes = np.bincount(group)
    wins = np.bincount(group[order], weights=np.where(positive, ranks, 0.0), minlength=len(sizes))
    hits = np.bincount(group[order], weights=positive, minlength=len(sizes))
    pairs = hits * (sizes - hits)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(pairs > 0, (wins - hits * (hits + 1) / 2) / pairs, np.nan)
    return values, sizes


def _average_ranks(sorted_scores: Array, sorted_groups: Array) -> Array:
    """Rank within group from 1, ties sharing their mean; rows sorted by group, then score."""
    n = len(sorted_scores)
    position = np.arange(n, dtype=np.float64)
    new_group = np.r_[True, sorted_groups[1:] != sorted_groups[:-1]]
    new_value = new_group | np.r_[True, sorted_scores[1:] != sorted_scores[:-1]]
    run = np.cumsum(new_value) - 1
    starts = position[new_value]
    ends = np.r_[starts[1:], n]
    group_start = position[new_group][np.cumsum(new_group) - 1]
    return np.asarray(((starts + ends - 1) / 2)[run] - group_start + 1)


def ndcg_at(labels: Array, scores: Array, lists: Array, *, k: int | None = 10) -> float:
    """Mean NDCG@k over lists that have a positive; gain is the label, discount ``1 / log2(rank + 1)``.

    Args:
        labels: Gains ≥ 0, ``[N]``.
        scores: ``[N]``; equal scores keep the order given.
        lists: List of each row, ``[N]``.
        k: Cut; None looks at the whole list.
    """
    gained = _dcg(labels, scores, lists, k)
    ideal = _dcg(labels, labels, lists, k)
    return float(np.mean(gained[ideal > 0] / ideal[ideal > 0])) if (ideal > 0).any() else float("nan")


def _dcg(labels: Array, scores: Array, lists: Array, k: int | None) -> Array:
    _, group = np.unique(lists, return_inverse=True)
    order = np.lexsort((-scores, group))
    sorted_group = group[order]
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])
    rank = np.arange(len(order)) - starts[sorted_group]
    gain = labels[order] / np.log2(rank + 2.0)
    return np.bincount(sorted_group, weights=gain if k is None else np.where(rank < k, gain, 0.0))


def log_loss(labels: Array, probabilities: Array) -> float:
    """Mean binary cross-entropy, probabilities clipped to [1e-7, 1 - 1e-7]."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _EDGE, 1 - _EDGE)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def calibration_curve(labels: Array, probabilities: Array, *, bins: int = 10) -> list[dict[str, float]]:
    """Mean prediction, observed rate and rows of bins with equal numbers of rows."""
    order = np.argsort(probabilities, kind="stable")
    return [
        {
            "predicted": float(np.mean(probabilities[rows])),
            "observed": float(np.mean(labels[rows])),
            "rows": len(rows),
        }
        for rows in np.array_split(order, bins)
        if len(rows)
    ]


def expected_calibration_error(labels: Array, probabilities: Array, *, bins: int = 10) -> float:
    """Row-weighted mean of |predicted - observed| over :func:`calibration_curve`."""
    curve = calibration_curve(labels, probabilities, bins=bins)
    gaps = [abs(point["predicted"] - point["observed"]) for point in curve]
    return float(np.average(gaps, weights=[point["rows"] for point in curve]))


def mean_absolute_error(truth: Array, predicted: Array) -> float:
    """Mean absolute error, in the unit of its arguments."""
    return float(np.mean(np.abs(truth - predicted)))


def duration_bias(truth: Array, predicted: Array) -> float:
    """TRE, ``(sum(predicted) - sum(truth)) / sum(predicted)``, signed: below 0 is too short.

    Source: TranSUN (NeurIPS 2025), whose TRE is the absolute value.
    """
    return float((np.sum(predicted) - np.sum(truth)) / np.sum(predicted))


def predicted_over_observed(truth: Array, predicted: Array) -> float:
    """PGR, mean prediction over mean truth: 1 is right; NaN where the truth is 0 throughout."""
    observed = float(np.mean(truth))
    return float(np.mean(predicted)) / observed if observed else float("nan")


def bias_table(truth: Array, predicted: Array, *, bins: int = 10) -> list[dict[str, float]]:
    """TRE of bins with equal numbers of rows, by rising prediction, beside mean prediction and mean truth."""
    order = np.argsort(predicted, kind="stable")
    return [
        {
            "predicted": float(np.mean(predicted[rows])),
            "observed": float(np.mean(truth[rows])),
            "rows": len(rows),
            "bias_tre": duration_bias(truth[rows], predicted[rows]) if np.any(predicted[rows]) else float("nan"),
        }
        for rows in np.array_split(order, bins)
        if len(rows)
    ]


def xauc(truth: Array, predicted: Array, *, pairs: int = 2_000_000, seed: int = 0) -> float:
    """Share of pairs with different truth that are put in the right order, tied predictions worth one half.

    Over a fixed random sample of pairs (Zhan et al., KDD 2022, https://doi.org/10.1145/3534678.3539092).
    """
    if len(truth) < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, len(truth), size=(2, pairs))
    differs = truth[a] != truth[b]
    if not differs.any():
        return float("nan")
    agreement = np.sign(truth[a] - truth[b]) * np.sign(predicted[a] - predicted[b])
    return float(np.mean((agreement[differs] + 1) / 2))


def spearman(a: Array, b: Array) -> float:
    """Correlation of ranks, ties sharing their mean; NaN when one side is constant."""
    ra, rb = _ranks(a), _ranks(b)
    if np.std(ra) == 0 or np.std(rb) == 0:
        return float("nan")
    return float(np.corrcoef(ra, rb)[0, 1])


def _ranks(values: Array) -> Array:
    order = np.argsort(values, kind="stable")
    out = np.empty(len(values))
    out[order] = _average_ranks(values[order], np.zeros(len(values), dtype=np.int64))
    return out
