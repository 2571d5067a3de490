"""What a head is. Shape letters: N candidates, W raw outputs of one task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray
from torch import Tensor

from contract.features import FeatureSchema
from contract.tasks import BinaryTask, CountTask, DurationTask, RegressionTask
from training.inputs import TensorInputs

__all__ = ["LabelSample", "TaskHead"]

T = TypeVar("T", bound=BinaryTask | CountTask | RegressionTask | DurationTask)


@dataclass(frozen=True, kw_only=True)
class LabelSample:
    """Training rows on which a task is defined, to fit what its head needs before training.

    Args:
        labels: The task's labels, ``[N]``, all finite.
        candidate_dense: The candidates' scaled numbers, ``[N, M]``.
        schema: Says what stands in which column.
    """

    labels: NDArray[Any]
    candidate_dense: NDArray[Any]
    schema: FeatureSchema


class TaskHead(ABC, Generic[T]):
    """Reads the raw outputs ``[N, W]`` of one task's tower.

    Args:
        task: What is predicted, with all that was fitted.
    """

    width: ClassVar[int] = 1
    """Raw outputs W a candidate; a head whose width depends on its task overrides :meth:`raw_width`."""

    def __init__(self, task: T) -> None:
        self.task = task

    @property
    def raw_width(self) -> int:
        """Raw outputs W a candidate."""
        return self.width

    @classmethod
    def fit(cls, task: T, sample: LabelSample) -> T:
        """Give the task with what its head needs fitted on training rows; nothing by default."""
        return task

    @abstractmethod
    def row_loss(self, raw_NW: Tensor, target_N: Tensor, inputs: TensorInputs) -> Tensor:
        """Give the loss of every row, ``[N]``; targets are finite, 0 where the caller masks the row."""

    @abstractmethod
    def finish(self, raw_NW: Tensor, inputs: TensorInputs) -> tuple[Tensor, ...]:
        """Give the served heads, ``[N]`` each, in the unit and order of :func:`contract.tasks.heads_of`."""
