"""One loss a task, over the rows on which its label is defined."""

import torch
from torch import Tensor
from torch.nn import functional as F

from contract.tasks import BinaryTask, DurationTask, Task

__all__ = ["task_loss"]


def task_loss(task: Task, output_N: Tensor, label_N: Tensor) -> Tensor:
    """Mean loss of one task.

    Binary tasks: cross-entropy of a logit. Duration tasks: squared error of log1p(seconds).

    Args:
        task: Decides the loss.
        output_N: What the model gave, ``[N]``.
        label_N: 0/1 or seconds, NaN where the label is not defined (a duration of a row not clicked).

    Returns:
        A scalar; 0 with a gradient of 0 when no row of the batch has the label.
    """
    # A masked sum, not boolean indexing: no row of the batch may decide the shape of the graph.
    defined_N = torch.isfinite(label_N)
    target_N = torch.where(defined_N, label_N, torch.zeros_like(label_N))
    loss_N = _row_loss(task, output_N, target_N)
    return (loss_N * defined_N).sum() / defined_N.sum().clamp(min=1)


def _row_loss(task: Task, output_N: Tensor, target_N: Tensor) -> Tensor:
    if isinstance(task, BinaryTask):
        return F.binary_cross_entropy_with_logits(output_N, target_N, reduction="none")
    if isinstance(task, DurationTask):
        return F.mse_loss(output_N, torch.log1p(target_N), reduction="none")
    msg = f"no loss for {task!r}"
    raise TypeError(msg)
