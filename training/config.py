"""What a training run is made of; frozen, complete, and kept in the manifest."""

from pydantic import Field

from contract.features import Frozen
from training.models.base import ModelConfig

__all__ = ["OptimConfig", "TrainConfig"]


class OptimConfig(Frozen):
    """How the weights are found.

    Args:
        learning_rate: Of AdamW.
        weight_decay: Of dense weights; embedding tables get none.
        batch_requests: Lists a step.
        patience: Epochs without a better validation loss after which training stops.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch_requests: int = Field(default=128, ge=1)
    patience: int = Field(default=2, ge=1)


class TrainConfig(Frozen):
    """A whole run.

    Args:
        data: Name of a source, or the path of a prepared dataset.
        arch: Name of an architecture.
        task_weights: Factor of each task's loss; 1 where not given.
    """

    data: str
    arch: str
    epochs: int = Field(default=5, ge=1)
    rows: int | None = Field(default=None, ge=1)
    seed: int = 0
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    task_weights: dict[str, float] = Field(default_factory=dict)
