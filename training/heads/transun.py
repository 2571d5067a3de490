"""TranSUN: a logarithm, and beside it the factor by which its inverse is too short.

J. Yu et al., "TranSUN: A Preemptive Paradigm to Eradicate Retransformation Bias Intrinsically from Regression Models
in Recommender Systems", NeurIPS 2025. https://arxiv.org/abs/2505.13881

Equations, raw outputs (a, b), T = log1p, sg stops the gradient::

    f    = mean + std a                        of log1p(y) over the training rows
    z    = ratio_mean + ratio_std b            of y / (expm1(mean) + epsilon) over the training rows
    L    = ((f - T(y)) / std)² + ((z - sg[y / (|T⁻¹(f)| + epsilon)]) / ratio_std)²
    E[y] = z (|T⁻¹(f)| + epsilon)

z is a mean and its factor is given x, so that the product is a mean of y whatever f has learnt. The losses are the
paper's, each divided by a constant: they begin at 1, where the variance of the ratio alone may be hundreds.

Shapes: raw ``[N, 2]``; seconds and log-seconds ``[N]``; f is the mean of log1p(seconds).
"""

import math

import numpy as np
import torch
from torch import Tensor

from contract.durations import Transun
from contract.tasks import DurationTask
from training.heads.base import LabelSample
from training.heads.duration import MAX_LOG_SECONDS, DurationHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["TransunHead"]


@register_head("transun")
class TransunHead(DurationHead[Transun]):
    """Two raw outputs: the logarithm, and the factor."""

    width = 2

    @classmethod
    def fit(cls, task: DurationTask, sample: LabelSample) -> DurationTask:
        """Take the mean logarithm and the moments of the ratio there, at which the outputs begin."""
        y = np.asarray(sample.labels, dtype=np.float64)
        log = np.log1p(y)
        ratio = y / (math.expm1(float(log.mean())) + cls.objective_of(task).epsilon)
        return cls.with_objective(
            task,
            mean=float(log.mean()),
            std=float(log.std()) or 1.0,
            ratio_mean=float(ratio.mean()),
            ratio_std=float(ratio.std()) or 1.0,
        )

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Squared error of the logarithm, and that of the factor, of every row."""
        objective, ratio_N = self.objective, target_N / self._unit(raw_NW).detach()
        log_error_N = (self.log_seconds(raw_NW, inputs) - torch.log1p(target_N)) / objective.std
        return log_error_N**2 + ((self._factor(raw_NW) - ratio_N) / objective.ratio_std) ** 2

    def seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the factor times the inverse of the logarithm."""
        return torch.clamp(self._factor(raw_NW) * self._unit(raw_NW), min=0.0)

    def log_seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the logarithm."""
        return self.objective.mean + self.objective.std * raw_NW[:, 0]

    def _factor(self, raw_NW: Tensor) -> Tensor:
        return self.objective.ratio_mean + self.objective.ratio_std * raw_NW[:, 1]

    def _unit(self, raw_NW: Tensor) -> Tensor:
        f_N = torch.clamp(self.objective.mean + self.objective.std * raw_NW[:, 0], max=MAX_LOG_SECONDS)
        return torch.abs(torch.exp(f_N) - 1.0) + self.objective.epsilon
