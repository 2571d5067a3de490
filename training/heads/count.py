"""How many: Poisson regression.

McCullagh & Nelder, "Generalized Linear Models", 2nd ed., 1989, ch. 6. https://doi.org/10.1007/978-1-4899-3242-6

Equations, raw output z, training mean m and mean deviance d of the training rows from m::

    rate = m exp(z)                                log rate clipped to ±20
    L    = 2 (y log(y / rate) - (y - rate)) / d    the deviance; its minimum is E[y | x], whatever y's distribution

An output of 0 stands for the training mean, and the loss begins at 1 there.

Shapes: raw ``[N, 1]``; rate ``[N]``, a count.
"""

import math

import numpy as np
import torch
from torch import Tensor

from contract.tasks import CountTask
from training.heads.base import LabelSample, TaskHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["CountHead"]

MAX_LOG_RATE = 20.0
_SMALLEST = 1e-6


@register_head("count")
class CountHead(TaskHead[CountTask]):
    """An expected count, trained by the Poisson deviance."""

    @classmethod
    def fit(cls, task: CountTask, sample: LabelSample) -> CountTask:
        """Take the mean of the training rows, and how far they are from it."""
        y = torch.from_numpy(np.asarray(sample.labels, dtype=np.float64))
        mean = max(float(y.mean()), _SMALLEST)
        deviance = float(_deviance(y, torch.full_like(y, math.log(mean))).mean())
        return task.model_copy(update={"mean": mean, "deviance": deviance if deviance > _SMALLEST else 1.0})

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Deviance of every row, in units of a constant's."""
        return _deviance(target_N, self._log_rate(raw_NW)) / self.task.deviance

    def finish(self, raw_NW: Tensor, inputs: TensorInputs) -> tuple[Tensor, ...]:
        """Give the expected count."""
        return (torch.exp(self._log_rate(raw_NW)),)

    def _log_rate(self, raw_NW: Tensor) -> Tensor:
        return torch.clamp(raw_NW[:, 0] + math.log(self.task.mean), min=-MAX_LOG_RATE, max=MAX_LOG_RATE)


def _deviance(y_N: Tensor, log_rate_N: Tensor) -> Tensor:
    return torch.as_tensor(2.0 * (torch.xlogy(y_N, y_N) - y_N * log_rate_N - y_N + torch.exp(log_rate_N)))
