"""Durations trained as a logarithm, and the way back to seconds that every duration head shares.

Equations of ``log_mse`` and ``log_huber``, raw output z, m the mean of log1p(y) of the training rows::

    L = error(m + z - log1p(y))      squared, or Huber's
    y = expm1(m + z)                 exp(E[log]), less than the mean by Jensen's inequality
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from contract.durations import Debias, Isotonic, LogHuber, LogMse, LogNormal, Smearing
from contract.frozen import Frozen
from contract.tasks import DurationTask
from training.heads.base import LabelSample, TaskHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["DurationHead", "LogHead", "debiased", "piecewise_linear"]

# exp of more is no duration any more, and infinite in float32 soon after.
MAX_LOG_SECONDS = 20.0

ObjectiveT = TypeVar("ObjectiveT", bound=Frozen)


class DurationHead(TaskHead[DurationTask], Generic[ObjectiveT]):
    """A head that gives seconds and their logarithm."""

    @property
    def objective(self) -> ObjectiveT:
        """What the network is trained on, with all that was fitted."""
        return self.objective_of(self.task)

    @classmethod
    def objective_of(cls, task: DurationTask) -> ObjectiveT:
        """Give a task's objective as this head's own kind; the registry has matched the two."""
        return cast("ObjectiveT", task.objective)

    @classmethod
    def with_objective(cls, task: DurationTask, **fitted: Any) -> DurationTask:
        """Give the task with fields of its objective fitted.

        Raises:
            pydantic.ValidationError: When a fitted value is out of its range, as NaN labels would make it.
        """
        objective = type(task.objective).model_validate(task.objective.model_dump() | fitted)
        return task.model_copy(update={"objective": objective})

    @abstractmethod
    def seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the objective's own estimate of the seconds, before debiasing, ``[N]``, 0 or more."""

    def log_seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the mean of log1p(seconds), ``[N]``; log1p of :meth:`seconds` where the objective knows no mean log."""
        return torch.log1p(self.seconds(raw_NW, inputs))

    def finish(self, raw_NW: Tensor, inputs: TensorInputs) -> tuple[Tensor, ...]:
        """Give debiased seconds and their logarithm."""
        seconds_N = debiased(self.task.debias, self.seconds(raw_NW, inputs))
        return torch.clamp(seconds_N, min=0.0), self.log_seconds(raw_NW, inputs)


@register_head("log_mse")
@register_head("log_huber")
class LogHead(DurationHead[LogMse | LogHuber]):
    """Predicts log1p(seconds); ``expm1`` of it is too short by Jensen's inequality, which debiasing mends."""

    @classmethod
    def fit(cls, task: DurationTask, sample: LabelSample) -> DurationTask:
        """Take the mean logarithm of the training rows, at which the output begins."""
        return cls.with_objective(task, mean=float(np.log1p(sample.labels).mean(dtype=np.float64)))

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Squared or Huber's error of the logarithm of every row."""
        objective, wanted_N = self.objective, torch.log1p(target_N)
        predicted_N = self.log_seconds(raw_NW, inputs)
        if isinstance(objective, LogHuber):
            return F.huber_loss(predicted_N, wanted_N, reduction="none", delta=objective.delta)
        return F.mse_loss(predicted_N, wanted_N, reduction="none")

    def seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give ``expm1`` of the prediction."""
        log_N = torch.clamp(self.log_seconds(raw_NW, inputs), max=MAX_LOG_SECONDS)
        return torch.clamp(torch.exp(log_N) - 1.0, min=0.0)

    def log_seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the prediction itself."""
        return raw_NW[:, 0] + self.objective.mean


def debiased(debias: Debias, seconds_N: Tensor) -> Tensor:
    """Apply a fitted debiasing to seconds."""
    if isinstance(debias, Smearing):
        return (1.0 + seconds_N) * debias.factor - 1.0
    if isinstance(debias, LogNormal):
        return (1.0 + seconds_N) * math.exp(debias.variance / 2.0) - 1.0
    if isinstance(debias, Isotonic):
        return piecewise_linear(seconds_N, debias.points, debias.seconds)
    return seconds_N


def piecewise_linear(x_N: Tensor, points: Sequence[float], values: Sequence[float]) -> Tensor:
    """Interpolate between corners, constant outside, with nothing but additions: every runtime knows those.

    Args:
        x_N: Where, ``[N]``.
        points: K rising corners.
        values: Values there.
    """
    corners_K, heights_K = x_N.new_tensor(list(points)), x_N.new_tensor(list(values))
    if len(points) == 1:
        return torch.zeros_like(x_N) + heights_K[0]
    widths_K = corners_K[1:] - corners_K[:-1]
    slopes_K = (heights_K[1:] - heights_K[:-1]) / widths_K
    covered_NK = torch.minimum(torch.clamp(x_N.unsqueeze(1) - corners_K[:-1], min=0.0), widths_K)
    return heights_K[0] + (covered_NK * slopes_K).sum(dim=1)
