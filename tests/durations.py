"""Durations of known conditional means, and the smallest model that can learn them: one output vector a group."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

import training.heads
from contract.durations import Objective
from contract.features import FeatureSchema, LogStandard, Numeric
from contract.tasks import DurationTask
from training.heads.base import LabelSample
from training.heads.duration import DurationHead
from training.heads.registry import fit_task, head_of

_ = training.heads  # filled the registry
ROWS = 1_000
_AT = (np.arange(ROWS) + 0.5) / ROWS


def _spread(inverse, zeros=0.0):
    """Lay a distribution out at even quantiles, zeros first: its mean is known and no draw is unlucky."""
    return np.where(zeros > _AT, 0.0, inverse(np.clip((_AT - zeros) / (1.0 - zeros), 1e-9, 1.0)))


def _lognormal(mean, std):
    return lambda q: stats.lognorm.ppf(q, std, scale=np.exp(mean))


FAMILIES: Mapping[str, tuple[np.ndarray, ...]] = {
    "lognormal": tuple(_spread(_lognormal(mean, 0.9)) for mean in (2.0, 3.0, 4.0)),
    "zero-inflated lognormal": tuple(_spread(_lognormal(3.0, 0.7), zeros) for zeros in (0.8, 0.5, 0.2)),
    "gamma": tuple(_spread(lambda q, scale=scale: stats.gamma.ppf(q, 2.0, scale=scale)) for scale in (8, 20, 60)),
    "zero-inflated gamma": tuple(
        _spread(lambda q: stats.gamma.ppf(q, 2.0, scale=20), zeros) for zeros in (0.8, 0.5, 0.2)
    ),
    "discrete": tuple(np.repeat([0.0, 5.0, 30.0, 120.0], np.array(shares) * (ROWS // 10)) for shares in (
        (6, 2, 1, 1), (3, 3, 3, 1), (1, 2, 3, 4))),
}  # fmt: skip
"""By family, the seconds of each of three groups."""


def schema_with(*names: str) -> FeatureSchema:
    """Candidates with these numbers, and a request with one."""
    scaling = LogStandard(mean=0.0, std=1.0)
    return FeatureSchema(
        fields=(
            Numeric(name="hour", side="request", scaling=scaling),
            *(Numeric(name=name, side="candidate", scaling=scaling) for name in names),
        )
    )


def sample_of(seconds, numbers=None, names=("length",)) -> LabelSample:
    """Give training rows with one or more candidate numbers."""
    dense = np.zeros((len(seconds), len(names))) if numbers is None else np.asarray(numbers).reshape(len(seconds), -1)
    return LabelSample(
        labels=np.asarray(seconds, dtype=np.float32),
        candidate_dense=dense.astype(np.float32),
        schema=schema_with(*names),
    )


def fitted_head(objective: Objective, seconds) -> DurationHead:
    """Give the head of an objective, fitted on these rows."""
    return head_of(fit_task(DurationTask(name="duration", objective=objective), sample_of(seconds)))


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What was predicted for each row of all groups."""

    truth: np.ndarray
    group: np.ndarray
    seconds: np.ndarray
    log_seconds: np.ndarray

    def bias(self, predicted=None) -> np.ndarray:
        """Relative bias of each group's mean."""
        given = self.seconds if predicted is None else predicted
        return np.array([given[self.group == g].mean() / self.truth[self.group == g].mean() - 1 for g in range(3)])


def learn(objective: Objective, groups, *, steps=500) -> Learnt:
    """Train one output vector a group to the end, from a random start."""
    truth, group = np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(each) for each in groups])
    head = fitted_head(objective, truth)
    target, rows = torch.tensor(truth, dtype=torch.float32), torch.tensor(group)
    torch.manual_seed(0)
    table = torch.randn(len(groups), head.raw_width, requires_grad=True)

    optimiser = torch.optim.Adam([table], lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        head.row_loss(table[rows], target, None).mean().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        seconds, log = head.seconds(table, None).numpy(), head.log_seconds(table, None).numpy()
    return Learnt(truth=truth, group=group, seconds=seconds[group], log_seconds=log[group])
