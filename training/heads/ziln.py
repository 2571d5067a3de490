"""ZILN: a chance of more than nothing, and a lognormal of how much.

X. Wang, T. Liu, J. Miao, "A Deep Probabilistic Model for Customer Lifetime Value Prediction", 2019.
https://arxiv.org/abs/1912.07753

Equations, raw outputs (a, b, c)::

    p     = sigmoid(a + logit(rate))                         P(y > 0)
    mu    = b + mean                                         rate, mean, std of the training rows
    sigma = lo + (hi - lo) sigmoid(c + start)                starts at std; hi is an option
    L     = BCE(y > 0, p) + [y > 0] (log(sigma / std) + (log y - mu)² / (2 sigma²))
    E[y]         = p exp(mu + sigma² / 2)
    E[log1p(y)]  = p E[softplus(mu + sigma e)], e normal     by nine nodes of Gauss and Hermite

The paper's likelihood, less terms that no weight changes (log y, log std, log(2 pi) / 2), so that it begins near 1.
The paper's sigma is a softplus, which no bound keeps from making any mean; here it stays below *max_sigma*.
The mean is right where durations above 0 are lognormal; elsewhere it needs debiasing.

Shapes: raw ``[N, 3]``; heads ``[N]`` in seconds and log-seconds.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from contract.durations import Ziln
from contract.tasks import DurationTask
from training.heads.base import LabelSample
from training.heads.duration import MAX_LOG_SECONDS, DurationHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["ZilnHead"]

MIN_SIGMA = 0.05
_RATE_EDGE = 1e-3
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@register_head("ziln")
class ZilnHead(DurationHead[Ziln]):
    """Three raw outputs: logit of more than nothing, mean and spread of its logarithm."""

    width = 3

    @classmethod
    def fit(cls, task: DurationTask, sample: LabelSample) -> DurationTask:
        """Take the share above 0 and the moments of its logarithm, at which the outputs begin."""
        y = np.asarray(sample.labels, dtype=np.float64)
        logs = np.log(y[y > 0]) if (y > 0).any() else np.zeros(1)
        return cls.with_objective(
            task,
            rate=float(np.clip(np.mean(y > 0), _RATE_EDGE, 1 - _RATE_EDGE)),
            mean=float(logs.mean()),
            std=max(float(logs.std()), MIN_SIGMA),
        )

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Cross-entropy of more than nothing, and the normal likelihood of the logarithm where there is more."""
        logit_N, mu_N, sigma_N = self.parameters(raw_NW)
        is_positive_N = target_N > 0
        log_N = torch.log(torch.where(is_positive_N, target_N, torch.ones_like(target_N)))
        happened_N = is_positive_N.to(raw_NW.dtype)
        how_much_N = torch.log(sigma_N / self.objective.std) + ((log_N - mu_N) / sigma_N) ** 2 / 2.0
        return F.binary_cross_entropy_with_logits(logit_N, happened_N, reduction="none") + happened_N * how_much_N

    def seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the mean of the whole distribution."""
        logit_N, mu_N, sigma_N = self.parameters(raw_NW)
        log_mean_N = torch.clamp(mu_N + sigma_N**2 / 2.0, max=MAX_LOG_SECONDS)
        return torch.sigmoid(logit_N) * torch.exp(log_mean_N)

    def log_seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the mean of log1p(seconds) of the whole distribution."""
        logit_N, mu_N, sigma_N = self.parameters(raw_NW)
        nodes_K = raw_NW.new_tensor(_NODES)
        weights_K = raw_NW.new_tensor(_WEIGHTS / _WEIGHTS.sum())
        logs_NK = F.softplus(mu_N.unsqueeze(1) + sigma_N.unsqueeze(1) * nodes_K)
        return torch.sigmoid(logit_N) * (logs_NK * weights_K).sum(dim=1)

    def parameters(self, raw_NW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the logit of more than nothing, and mean and standard deviation of its logarithm, ``[N]`` each."""
        objective = self.objective
        room = objective.max_sigma - MIN_SIGMA
        start = min(max((objective.std - MIN_SIGMA) / room, 0.02), 0.98)
        sigma_N = MIN_SIGMA + room * torch.sigmoid(raw_NW[:, 2] + _logit(start))
        return raw_NW[:, 0] + _logit(objective.rate), raw_NW[:, 1] + objective.mean, sigma_N


def _logit(p: float) -> float:
    return math.log(p / (1.0 - p))
