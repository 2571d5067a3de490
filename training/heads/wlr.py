"""WLR: a logistic regression whose odds are the expected seconds.

P. Covington, J. Adams, E. Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016, §4.2.
https://doi.org/10.1145/2959100.2959190

The paper weighs a clicked row by its watch time and takes it for positive, and the others for negatives of weight 1.
The odds are then ``E[y] / (1 - p)``, too large by ``p / (1 - p)``, p the share of positives. Here every row, clicked
or not, is also a negative of weight 1, so that the odds are E[y] at any p.

Equations, raw output z, mean seconds s of the training rows::

    L    = (y / s) softplus(-z) + softplus(z)      begins at 2 log 2; minimal at exp(z) = E[y / s | x]
    E[y] = s exp(z)

Shapes: raw ``[N, 1]``; seconds ``[N]``. The objective knows nothing of the mean of log1p(seconds): that head is the
logarithm of the mean, which is more.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from contract.durations import Wlr
from contract.tasks import DurationTask
from training.heads.base import LabelSample
from training.heads.duration import MAX_LOG_SECONDS, DurationHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["WlrHead"]

_SMALLEST = 1e-6


@register_head("wlr")
class WlrHead(DurationHead[Wlr]):
    """One raw output: the logarithm of the odds."""

    @classmethod
    def fit(cls, task: DurationTask, sample: LabelSample) -> DurationTask:
        """Take the mean of the training rows, which odds of 1 stand for."""
        return cls.with_objective(task, scale=max(float(np.mean(sample.labels, dtype=np.float64)), _SMALLEST))

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Cross-entropy of a positive of weight *seconds* and a negative of weight 1, of every row."""
        z_N = raw_NW[:, 0]
        return target_N / self.objective.scale * F.softplus(-z_N) + F.softplus(z_N)

    def seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the odds, in seconds."""
        return torch.exp(torch.clamp(raw_NW[:, 0] + math.log(self.objective.scale), max=MAX_LOG_SECONDS))
