"""How much: squared error of the standardised value.

Equations, raw output z, mean m and standard deviation s of the training rows::

    L = (z - (y - m) / s)²      begins at 1
    y = m + s z                 in its own unit

Shapes: raw ``[N, 1]``; value ``[N]``.
"""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from contract.tasks import RegressionTask
from training.heads.base import LabelSample, TaskHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["RegressionHead"]


@register_head("regression")
class RegressionHead(TaskHead[RegressionTask]):
    """A mean in the label's own unit."""

    @classmethod
    def fit(cls, task: RegressionTask, sample: LabelSample) -> RegressionTask:
        """Take mean and standard deviation of the training rows."""
        y = np.asarray(sample.labels, dtype=np.float64)
        return task.model_copy(update={"mean": float(y.mean()), "std": float(y.std()) or 1.0})

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Squared error of every row, in units of the training variance."""
        return F.mse_loss(raw_NW[:, 0], (target_N - self.task.mean) / self.task.std, reduction="none")

    def finish(self, raw_NW: Tensor, inputs: TensorInputs) -> tuple[Tensor, ...]:
        """Give the value in its own unit."""
        return (self.task.mean + self.task.std * raw_NW[:, 0],)
