"""What a model predicts: tasks, and the heads (named outputs with units) that each gives.

A binary task gives one head, a probability. A duration task gives two: ``<name>_seconds``, an unbiased mean,
and ``log_<name>``, the mean of log1p(seconds). They differ (Jensen), so a fusion has to say which it means.
"""

from typing import Annotated, Literal

from pydantic import Field

from contract.calibration import Calibration, Identity
from contract.features import Frozen

__all__ = ["BinaryTask", "DurationTask", "Head", "Task", "Unit", "heads_of"]

Unit = Literal["probability", "seconds", "log_seconds"]


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
    """

    kind: Literal["binary"] = "binary"
    name: str
    given: str | None = None


class DurationTask(Frozen):
    """How long? Trained on log1p(seconds); brought back to seconds inside the graph.

    Args:
        smearing: Duan's factor, the mean of ``exp(residual)`` on held-out rows (JASA 1983). The graph gives
            ``exp(prediction) * smearing - 1``, which removes the bias of a plain ``expm1``.
    """

    kind: Literal["duration"] = "duration"
    name: str
    given: str | None = None
    smearing: float = Field(default=1.0, gt=0)


Task = Annotated[BinaryTask | DurationTask, Field(discriminator="kind")]


def heads_of(task: BinaryTask | DurationTask) -> tuple[Head, ...]:
    """Name the heads of a task, uncalibrated."""
    if isinstance(task, BinaryTask):
        return (Head(name=task.name, task=task.name, unit="probability", output=task.name),)
    seconds, log = f"{task.name}_seconds", f"log_{task.name}"
    return (
        Head(name=seconds, task=task.name, unit="seconds", output=seconds),
        Head(name=log, task=task.name, unit="log_seconds", output=log),
    )
