"""CREAD: chances of lasting longer than each of some thresholds, and the seconds that they sum to.

J. Sun et al., "CREAD: A Classification-Restoration Framework with Error Adaptive Discretization for Watch Time
Prediction in Video Recommender Systems", AAAI 2024. https://doi.org/10.1609/aaai.v38i8.28752

Equations, raw outputs z_m, thresholds 0 = t_0 < ... < t_{M-1}, weights v and w of the loss::

    P_m  = sigmoid(z_m + logit(rate_m))            P(y > t_m); rate_m of the training rows
    E[y] = sum_m P_m width_m
    L    = mean_m BCE(y > t_m, P_m) + v Huber((E[y] - y) / std) + w sum_m max(0, P_{m+1} - P_m)

Error-adaptive thresholds: t_m is the gamma(m / M)-quantile of the training seconds with
``gamma(u) = (1 - exp(-a u)) / (1 - exp(-a))``, between equal shares (small a) and equal widths (large a); a makes the
least of ``A_w + 50 A_b``, ``A_w = sum p² · sum d² / p``, ``A_b = sum p² · sum d²``, p the share and d the seconds of
each bin. They stand for what is lost by learning from few rows and by restoring from wide bins (in the form, and with
the 50, of the public code in github.com/ericshenshs/EGMN, run_cread.py). The last bin counts to the 0.999-quantile
there: of heavy tails, one longest row would else decide for equal shares always.

Two departures. The paper sums ``P(y > t_m) (t_m - t_{m-1})``, chances at the *upper* edge of each bin: always too
short, and nothing of what lies beyond the last threshold counts. Here width_m is the part of its bin that a training
row longer than t_m covers in the mean, so that the sum over training rows is right, and it tends to the paper's for
narrow bins. And Huber's loss bends only at *delta* standard deviations: bent early it pulls the seconds to a median.

With weights of log1p(seconds) the same chances sum to its mean.

Shapes: raw ``[N, M]``; heads ``[N]``.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from contract.durations import Cread
from contract.tasks import DurationTask
from training.heads.base import LabelSample
from training.heads.duration import DurationHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["CreadHead", "adaptive_thresholds"]

Array = NDArray[Any]
_CURVES = np.arange(0.001, 5.0, 0.1)
_BIAS_WEIGHT = 50.0
_RATE_EDGE = 1e-3


@register_head("cread")
class CreadHead(DurationHead[Cread]):
    """One raw output a threshold."""

    @property
    def raw_width(self) -> int:
        """One a threshold; as many as bins before they are fitted."""
        return len(self.objective.thresholds) or self.objective.bins

    @classmethod
    def fit(cls, task: DurationTask, sample: LabelSample) -> DurationTask:
        """Choose thresholds, and take what lies between them."""
        y = np.asarray(sample.labels, dtype=np.float64)
        t = adaptive_thresholds(y, cls.objective_of(task).bins)
        rates = np.array([(y > each).mean() for each in t])
        return cls.with_objective(
            task,
            thresholds=tuple(t.tolist()),
            widths=tuple(_widths(y, t).tolist()),
            log_widths=tuple(_widths(np.log1p(y), np.log1p(t)).tolist()),
            rates=tuple(np.clip(rates, _RATE_EDGE, 1 - _RATE_EDGE).tolist()),
            std=float(y.std()) or 1.0,
        )

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Classification, restoration and order, of every row."""
        objective, logits_NM = self.objective, self._logits(raw_NW)
        longer_NM = (target_N.unsqueeze(1) > raw_NW.new_tensor(objective.thresholds)).to(raw_NW.dtype)
        classified_N = F.binary_cross_entropy_with_logits(logits_NM, longer_NM, reduction="none").mean(dim=1)
        error_N = (self.seconds(raw_NW, inputs) - target_N) / objective.std
        restored_N = F.huber_loss(error_N, torch.zeros_like(error_N), reduction="none", delta=objective.delta)
        chances_NM = torch.sigmoid(logits_NM)
        rising_N = torch.clamp(chances_NM[:, 1:] - chances_NM[:, :-1], min=0.0).sum(dim=1)
        return classified_N + objective.restore_weight * restored_N + objective.order_weight * rising_N

    def seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the sum of the chances times what they stand for."""
        return (torch.sigmoid(self._logits(raw_NW)) * raw_NW.new_tensor(self.objective.widths)).sum(dim=1)

    def log_seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the same sum in log1p(seconds)."""
        return (torch.sigmoid(self._logits(raw_NW)) * raw_NW.new_tensor(self.objective.log_widths)).sum(dim=1)

    def _logits(self, raw_NW: Tensor) -> Tensor:
        rates_M = raw_NW.new_tensor(self.objective.rates)
        return raw_NW + torch.log(rates_M / (1.0 - rates_M))


def adaptive_thresholds(seconds: Array, bins: int) -> Array:
    """Give at most *bins* thresholds, in seconds, rising from 0, by the paper's error-adaptive rule."""
    ordered = np.sort(seconds)
    return min((_thresholds(ordered, bins, curve) for curve in _CURVES), key=lambda t: _error(t, ordered))


def _thresholds(ordered: Array, bins: int, curve: float) -> Array:
    levels = (1.0 - np.exp(-curve * np.arange(1, bins) / bins)) / (1.0 - np.exp(-curve))
    quantiles = ordered[np.round(levels * (len(ordered) - 1)).astype(np.int64)]
    return np.unique(np.r_[0.0, quantiles[(quantiles > 0) & (quantiles < ordered[-1])]])


def _error(t: Array, ordered: Array) -> float:
    """Give the paper's bound on what these thresholds lose, up to a constant."""
    at_most = np.searchsorted(ordered, t[1:], side="right") / len(ordered)
    end = max(float(ordered[int(0.999 * (len(ordered) - 1))]), float(t[-1]))
    p, d = np.diff(np.r_[0.0, at_most, 1.0]), np.diff(np.r_[t, end])
    a_w = np.sum(p**2) * np.sum(d**2 / p)
    a_b = np.sum(p**2) * np.sum(d**2)
    return float(a_w + _BIAS_WEIGHT * a_b)


def _widths(values: Array, edges: Array) -> Array:
    """Give what values above each edge cover of the way to the next, in the mean; the last has no end."""
    ends = np.r_[edges[1:], np.inf]
    covered = [
        np.mean(np.minimum(values[values > low], high) - low) if (values > low).any() else 0.0
        for low, high in zip(edges, ends, strict=True)
    ]
    return np.asarray(covered)
