"""Probability of an event: a logit, cross-entropy, a sigmoid."""

import torch
from torch import Tensor
from torch.nn import functional as F

from contract.tasks import BinaryTask
from training.heads.base import TaskHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["BinaryHead"]


@register_head("binary")
class BinaryHead(TaskHead[BinaryTask]):
    """``p = sigmoid(z)``, trained by binary cross-entropy."""

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Cross-entropy of every row."""
        return F.binary_cross_entropy_with_logits(raw_NW[:, 0], target_N, reduction="none")

    def finish(self, raw_NW: Tensor, inputs: TensorInputs) -> tuple[Tensor, ...]:
        """Give the probability."""
        return (torch.sigmoid(raw_NW[:, 0]),)
