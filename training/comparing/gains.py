"""What multi-task learning gives each task, and whether it robs one to pay another.

The multi-task gain of H. Tang et al. (PLE, RecSys 2020, https://doi.org/10.1145/3383313.3412236, Eq. 11): the metric of
a task minus that of the same task trained alone, its sign turned where lower is better. Two signs in one model are
the paper's seesaw.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from contract.frozen import Frozen
from training.comparing.runs import Run
from training.comparing.spread import Difference, Spread, difference
from training.comparing.yardsticks import Yardstick, headline, yardsticks

__all__ = ["MeanGain", "TaskGain", "headlines", "is_seesaw", "mean_gain", "mean_gains_percent", "task_gains"]


class TaskGain(Frozen):
    """One task of one contender by one metric.

    Args:
        value: Of the contender.
        alone: Of the single-task reference.
        gain: In the metric's own unit; above 0 is better, whichever way the metric points.
        gain_percent: *gain* as a share of the reference's value.
        seeds_percent: Each seed's gain over the reference's mean, percent: what pictures show the spread by.
    """

    task: str
    metric: str
    title: str
    higher_is_better: bool
    value: Spread
    alone: Spread
    gain: Difference
    gain_percent: float
    standard_error_percent: float | None
    seeds_percent: tuple[float, ...]


class MeanGain(Frozen):
    """Mean over tasks of the relative gain, percent, beside its noise."""

    percent: Spread
    gain: Difference


def task_gains(
    runs: Sequence[Run], alone: Sequence[Run], kinds: Mapping[str, str], *, split: str = "test"
) -> tuple[TaskGain, ...]:
    """Compare a contender with the reference on every task that both have, by every metric of its kind.

    Args:
        runs: Of the contender, one a seed.
        alone: Of the reference.
        kinds: Task to its kind.
    """
    gains = []
    for task, kind in kinds.items():
        for stick in yardsticks(kind):
            ours, theirs = _values(runs, split, task, stick), _values(alone, split, task, stick)
            if ours and theirs:
                gains.append(_gain(task, stick, ours, theirs))
    return tuple(gains)


def is_seesaw(gains: Sequence[TaskGain]) -> bool:
    """Tell whether one task gains and another loses, each by more than one standard error of its headline metric."""
    verdicts = {gain.gain.verdict for gain in headlines(gains)}
    return {"gain", "loss"} <= verdicts


def headlines(gains: Sequence[TaskGain]) -> tuple[TaskGain, ...]:
    """Give the gain of each task by the metric that decides, the first of its kind."""
    first: dict[str, TaskGain] = {}
    for gain in gains:
        first.setdefault(gain.task, gain)
    return tuple(first.values())


def mean_gain(
    runs: Sequence[Run], alone: Sequence[Run], kinds: Mapping[str, str], *, split: str = "test"
) -> MeanGain | None:
    """Average the relative headline gains over tasks; None where a task cannot be compared."""
    ours = mean_gains_percent(runs, alone, kinds, split=split)
    theirs = mean_gains_percent(alone, alone, kinds, split=split)
    if not ours or not theirs:
        return None
    spread = Spread.of(ours)
    return MeanGain(percent=spread, gain=difference(spread, Spread.of(theirs), higher_is_better=True))


def mean_gains_percent(
    runs: Sequence[Run], alone: Sequence[Run], kinds: Mapping[str, str], *, split: str
) -> tuple[float, ...]:
    """Give, by seed, the mean over tasks of the headline gain over the reference's mean, percent.

    Nothing where a task is missing: a mean over fewer tasks would not compare with one over all.
    """
    by_task = []
    for task, kind in kinds.items():
        stick = headline(kind)
        ours, theirs = _values(runs, split, task, stick), _values(alone, split, task, stick)
        if not ours or not theirs:
            return ()
        by_task.append(_percents(ours, stick, float(np.mean(theirs))))
    return tuple(np.mean(by_task, axis=0).tolist()) if by_task else ()


def _gain(task: str, stick: Yardstick, ours: Sequence[float], theirs: Sequence[float]) -> TaskGain:
    value, alone = Spread.of(ours), Spread.of(theirs)
    gain = difference(value, alone, higher_is_better=stick.higher_is_better)
    scale = 100.0 / abs(alone.mean) if alone.mean else 0.0
    return TaskGain(
        task=task,
        metric=stick.metric,
        title=stick.title,
        higher_is_better=stick.higher_is_better,
        value=value,
        alone=alone,
        gain=gain,
        gain_percent=gain.value * scale,
        standard_error_percent=None if gain.standard_error is None else gain.standard_error * scale,
        seeds_percent=tuple(_percents(ours, stick, alone.mean)),
    )


def _percents(values: Sequence[float], stick: Yardstick, alone: float) -> list[float]:
    sign = 1.0 if stick.higher_is_better else -1.0
    return [sign * 100.0 * (value - alone) / abs(alone) if alone else 0.0 for value in values]


def _values(runs: Sequence[Run], split: str, task: str, stick: Yardstick) -> list[float]:
    """Give a metric by seed; nothing where a seed has no value, for a mean over other seeds would not compare."""
    values = [run.numbers[split].get(task, {}).get(stick.metric) for run in runs]
    present = [value for value in values if value is not None]
    return present if len(present) == len(values) else []
