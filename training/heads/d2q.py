"""D2Q: quantiles of the duration among items of like length.

R. Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022.
https://doi.org/10.1145/3534678.3539092

Equations, raw output z, group g(x) of equally many training rows by item length, F_g the empirical distribution of
the seconds of group g::

    q* = F_g(y)                     ties share the middle of their step
    L  = 12 (1/2 + z - q*)²         begins at 1, the variance of a uniform being 1/12
    y  = F_g⁻¹(1/2 + z)             clipped to [0, 1], linear between 101 points

The inverse of a mean quantile is no mean of seconds, so the result needs debiasing, smearing by default; and its
logarithm is no mean of log1p(seconds), though that head has to be it.

Shapes: raw ``[N, 1]``; tables ``[G, K]``, edges ``[G - 1]``; heads ``[N]``. *by* None makes one group.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.durations import D2q
from contract.features import FeatureSchema
from contract.scaling import as_one_number
from contract.tasks import DurationTask
from training.errors import InvalidOption
from training.heads.base import LabelSample
from training.heads.duration import DurationHead
from training.heads.registry import register_head
from training.inputs import TensorInputs

__all__ = ["D2qHead"]

POINTS = 101


@register_head("d2q")
class D2qHead(DurationHead[D2q]):
    """One raw output: how far the quantile is from one half."""

    @classmethod
    def fit(cls, task: DurationTask, sample: LabelSample) -> DurationTask:
        """Make groups of equally many rows, and take the quantiles of the seconds of each.

        Raises:
            InvalidOption: When *by* is no number field of the candidates.
        """
        objective = cls.objective_of(task)
        span = _span(sample.schema, objective.by, task.name)
        edges = np.zeros(0)
        if span is not None:
            value_N = as_one_number(sample.candidate_dense[:, span])
            edges = _edges(value_N, objective.groups)
            group_N = np.searchsorted(edges, value_N, side="left")
        else:
            group_N = np.zeros(len(sample.labels), dtype=np.int64)
        at = np.linspace(0.0, 1.0, POINTS)
        tables = [np.quantile(sample.labels[group_N == group], at) for group in range(len(edges) + 1)]
        return cls.with_objective(
            task,
            column=span.start if span else None,
            width=span.stop - span.start if span else 1,
            edges=tuple(edges.tolist()),
            seconds=tuple(tuple(table.tolist()) for table in tables),
        )

    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Squared error of the quantile of every row, in units of a uniform's variance."""
        table_NK = self._tables(raw_NW)[self.group(raw_NW, inputs)]
        return 12.0 * (0.5 + raw_NW[:, 0] - quantile_of(target_N, table_NK)) ** 2

    def seconds(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the seconds at that quantile of the row's group."""
        tables_GK = self._tables(raw_NW)
        steps = tables_GK.shape[1] - 1
        at_N = torch.clamp(0.5 + raw_NW[:, 0], min=0.0, max=1.0) * steps
        below_N = torch.clamp(torch.floor(at_N), max=steps - 1)
        place_N = self.group(raw_NW, inputs) * (steps + 1) + below_N.to(torch.int64)
        flat_X = tables_GK.reshape(-1)
        low_N, high_N = flat_X.index_select(0, place_N), flat_X.index_select(0, place_N + 1)
        return low_N + (at_N - below_N) * (high_N - low_N)

    def group(self, raw_NW: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the group of every row, int64 ``[N]``."""
        objective = self.objective
        if objective.column is None or not objective.edges:
            return torch.zeros_like(raw_NW[:, 0], dtype=torch.int64)
        edges_G = raw_NW.new_tensor(objective.edges)
        value_N = inputs.candidate_dense[:, objective.column]
        if objective.width > 1:  # as one number, as :func:`contract.scaling.as_one_number` has it in training
            value_NW = inputs.candidate_dense[:, objective.column : objective.column + objective.width]
            value_N = value_NW.to(torch.float64).sum(dim=1).to(value_N.dtype)
        return (value_N.unsqueeze(1) > edges_G).to(torch.int64).sum(dim=1)

    def _tables(self, raw_NW: Tensor) -> Tensor:
        return raw_NW.new_tensor(self.objective.seconds)


def quantile_of(y_N: Tensor, table_NK: Tensor) -> Tensor:
    """Give the share of each row's distribution at or below its value, ``[N]``; ties take the middle of their step.

    Args:
        table_NK: Seconds at evenly spaced quantiles from 0 to 1, not falling.
    """
    low_NK, high_NK = table_NK[:, :-1], table_NK[:, 1:]
    past_NK, width_NK = y_N.unsqueeze(1) - low_NK, high_NK - low_NK
    is_step_NK = width_NK <= 0
    sloped_NK = past_NK / torch.where(is_step_NK, torch.ones_like(width_NK), width_NK)
    stepped_NK = (torch.sign(past_NK) + 1.0) / 2.0
    return torch.where(is_step_NK, stepped_NK, torch.clamp(sloped_NK, min=0.0, max=1.0)).mean(dim=1)


def _edges(values_N: NDArray[Any], groups: int) -> NDArray[Any]:
    """Give the inner edges of groups of like size: values that occur, so that no group is empty."""
    at = np.arange(1, groups) / groups
    edges = np.unique(np.quantile(values_N, at, method="inverted_cdf")) if groups > 1 else np.zeros(0)
    return np.asarray(edges[edges < values_N.max()])


def _span(schema: FeatureSchema, by: str | None, task: str) -> slice | None:
    if by is None:
        return None
    names = [field.name for field in schema.numbers_on("candidate")]
    if by not in names:
        known = f"take one of: {', '.join(names)}" if names else "the candidates have no number: leave it out"
        raise InvalidOption(f"option 'by' of d2q, for {task}: no candidate number is called {by!r}", fix=known)
    return schema.dense_spans("candidate")[by]
