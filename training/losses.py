"""Losses over the rows on which a label is defined, weighted where the data weighs its rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from contract.tasks import Task
from training.heads.registry import head_of
from training.inputs import TensorInputs

__all__ = ["RowLoss", "mean_loss", "own_row_loss"]


@dataclass(frozen=True, kw_only=True)
class RowLoss:
    """One task's loss of every row.

    Args:
        values: ``[N]``; finite where not defined too.
        defined: Which rows count, bool ``[N]``.
    """

    values: Tensor
    defined: Tensor


def own_row_loss(task: Task, raw_NW: Tensor, labels: Mapping[str, Tensor], inputs: TensorInputs) -> RowLoss:
    """Give a task's loss over the rows that have its own label: the sample space of most models.

    Args:
        raw_NW: What the model gave.
        labels: Label name to ``[N]``, NaN where not defined (a duration of a row not clicked).
    """
    # A masked sum, not boolean indexing: no row of the batch may decide the shape of the graph.
    label_N = labels[task.name]
    defined_N = torch.isfinite(label_N)
    target_N = torch.where(defined_N, label_N, torch.zeros_like(label_N))
    return RowLoss(values=head_of(task).row_loss(raw_NW, target_N, inputs), defined=defined_N)


def mean_loss(rows: RowLoss, weights_N: Tensor | None = None) -> Tensor:
    """Give the weighted mean over the defined rows.

    Returns:
        A scalar; 0 with a gradient of 0 when no row of the batch has the label.
    """
    weights_N = rows.defined.to(rows.values.dtype) if weights_N is None else weights_N * rows.defined
    total = weights_N.sum()
    return (rows.values * weights_N).sum() / torch.where(total > 0, total, torch.ones_like(total))
