"""Heads by kind of task and objective: one dict, one decorator, a duplicate raises."""

from collections.abc import Callable
from typing import Any

from contract.tasks import BinaryTask, CountTask, DurationTask, RegressionTask, Task
from training.errors import DataError
from training.heads.base import LabelSample, TaskHead

__all__ = ["fit_task", "head_kinds", "head_of", "register_head"]

_HEADS: dict[str, type[TaskHead[Any]]] = {}


def register_head(kind: str) -> Callable[[type[TaskHead[Any]]], type[TaskHead[Any]]]:
    """Enter a head under a task's kind, or a duration's objective.

    Raises:
        ValueError: When the kind is taken.
    """

    def enter(head: type[TaskHead[Any]]) -> type[TaskHead[Any]]:
        if kind in _HEADS:
            msg = f"head {kind!r} is registered twice"
            raise ValueError(msg)
        _HEADS[kind] = head
        return head

    return enter


def head_kinds() -> tuple[str, ...]:
    """Name every kind of head."""
    return tuple(sorted(_HEADS))


def head_of(task: BinaryTask | CountTask | RegressionTask | DurationTask) -> TaskHead[Any]:
    """Give the head that reads a task's tower."""
    return _HEADS[_kind(task)](task)


def fit_task(task: Task, sample: LabelSample) -> Task:
    """Fit what a task's head needs before training.

    Raises:
        DataError: When there is no row to fit it on (a probability needs none), or a duration or count is below 0.
        InvalidOption: When an objective cannot be had from these fields.
    """
    if not len(sample.labels) and not isinstance(task, BinaryTask):
        raise DataError(f"no training row has the label {task.name!r}", fix="leave the label out of the data set")
    if isinstance(task, DurationTask | CountTask) and sample.labels.min() < 0:
        raise DataError(
            f"the {task.kind} {task.name!r} is below 0 in some rows", fix="mend the label, or leave it empty"
        )
    fitted: Task = _HEADS[_kind(task)].fit(task, sample)
    return fitted


def _kind(task: Task) -> str:
    return task.objective.kind if isinstance(task, DurationTask) else task.kind
