"""What a model predicts: tasks, and the heads (named outputs with units) that each gives.

A binary task gives one head, a probability; where it is conditional on another and the model knows the whole
space, a second one, the joint probability. A duration task gives two: ``<name>_seconds``, an unbiased mean, and
``log_<name>``, the mean of log1p(seconds). They differ (Jensen), so a fusion has to say which it means.
"""

from typing import Annotated, Literal

from pydantic import Field

from contract.calibration import Calibration, Identity
from contract.durations import Debias, LogMse, NoDebias, Objective
from contract.frozen import Frozen

__all__ = ["BinaryTask", "CountTask", "DurationTask", "Head", "RegressionTask", "Task", "Unit", "heads_of"]

Unit = Literal["probability", "seconds", "log_seconds", "count", "value"]


class Head(Frozen):
    """One named output.

    Args:
        output: Name of the graph output that carries it, float32 ``[N]``.
        calibration: Map applied in numpy after the graph; changes without a new export.
    """

    name: str
    task: str
    unit: Unit
    output: str
    calibration: Annotated[Calibration, Field(discriminator="kind")] = Identity()


class BinaryTask(Frozen):
    """Did it happen? The graph ends in a sigmoid.

    Args:
        given: Label that had to be 1 for this one to be defined; None when every row has it.
        joint: Name of a second head, P(this and *given*); None where the model has none.
    """

    kind: Literal["binary"] = "binary"
    name: str
    given: str | None = None
    joint: str | None = None


class CountTask(Frozen):
    """How many? A Poisson regression; the graph ends in an exponential, the expected count.

    Args:
        mean: Of the training rows; fitted.
        deviance: Mean deviance of those rows from that mean, which the loss is relative to; fitted.
    """

    kind: Literal["count"] = "count"
    name: str
    given: str | None = None
    mean: float = Field(default=1.0, gt=0)
    deviance: float = Field(default=1.0, gt=0)


class RegressionTask(Frozen):
    """How much? Squared error of the standardised value; the graph gives it in its own unit.

    Args:
        mean: Of the training rows; fitted.
        std: Of the training rows; fitted.
    """

    kind: Literal["regression"] = "regression"
    name: str
    given: str | None = None
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)


class DurationTask(Frozen):
    """How long?

    Args:
        objective: What the network is trained on, and how its output becomes seconds.
        debias: What makes those seconds an unbiased mean; fitted on held-out rows, applied inside the graph.
    """

    kind: Literal["duration"] = "duration"
    name: str
    given: str | None = None
    objective: Objective = LogMse()
    debias: Debias = NoDebias()


Task = Annotated[BinaryTask | CountTask | RegressionTask | DurationTask, Field(discriminator="kind")]


def heads_of(task: BinaryTask | CountTask | RegressionTask | DurationTask) -> tuple[Head, ...]:
    """Name the heads of a task, uncalibrated."""
    if isinstance(task, DurationTask):
        return _head(task.name, f"{task.name}_seconds", "seconds"), _head(task.name, f"log_{task.name}", "log_seconds")
    if isinstance(task, CountTask):
        return (_head(task.name, task.name, "count"),)
    if isinstance(task, RegressionTask):
        return (_head(task.name, task.name, "value"),)
    own = _head(task.name, task.name, "probability")
    return (own,) if task.joint is None else (own, _head(task.name, task.joint, "probability"))


def _head(task: str, name: str, unit: Unit) -> Head:
    return Head(name=name, task=task, unit=unit, output=name)
