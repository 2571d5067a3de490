"""What a training run is made of; frozen, complete, and kept in the manifest."""

from typing import Any, Literal

from pydantic import Field

from contract.durations import LogMse, Objective
from contract.frozen import Frozen
from training.models.base import ModelConfig

__all__ = ["DebiasKind", "OptimConfig", "TrainConfig"]

DebiasKind = Literal["none", "lognormal", "smearing", "isotonic"]


class OptimConfig(Frozen):
    """How the weights are found.

    Args:
        learning_rate: Of AdamW.
        weight_decay: Of dense weights; embedding tables get none.
        batch_requests: Lists a step.
        averaging: Decay of the moving average of the weights that is validated and kept, such as 0.999; 0 keeps the
            weights themselves.
        patience: Epochs without a better validation loss after which training stops.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch_requests: int = Field(default=128, ge=1)
    averaging: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=2, ge=1)


class TrainConfig(Frozen):
    """A whole run.

    Args:
        data: Name of a source, or the path of a prepared dataset.
        arch: Name of an architecture.
        objective: What durations are trained on.
        debias: What is fitted on validation to make seconds an unbiased mean; None takes smearing where the
            objective is a logarithm or a quantile, and nothing where it is unbiased by its own making.
        task_weights: Factor of each task's loss; 1 where not given.
        max_seconds: Longer durations count as this long in training; validation and test keep theirs, so that
            debiasing gives the total back. None caps nothing.
        allow_leaks: Fields that may give a label away; see :mod:`training.data.leaks`.
        balancer: How the losses become one step; see :mod:`training.balancing`.
        balancer_options: What the balancer has of its own.
        probe_gradients: Batches an epoch on which the cosines of the tasks' gradients are measured; 0 measures none.
    """

    data: str
    arch: str
    epochs: int = Field(default=5, ge=1)
    rows: int | None = Field(default=None, ge=1)
    seed: int = 0
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    objective: Objective = LogMse()
    debias: DebiasKind | None = None
    max_seconds: float | None = Field(default=None, gt=0)
    allow_leaks: tuple[str, ...] = ()
    task_weights: dict[str, float] = Field(default_factory=dict)
    balancer: str = "static"
    balancer_options: dict[str, Any] = Field(default_factory=dict)
    probe_gradients: int = Field(default=0, ge=0)
