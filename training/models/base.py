"""What every architecture is: a module from factored inputs to one number a task and candidate."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema, Frozen
from training.models.layers import Features, TensorInputs

__all__ = ["ModelConfig", "MultiTaskModel"]


class ModelConfig(Frozen):
    """Sizes of a network; each architecture reads those that it has.

    Args:
        embedding_dim: Width of every id field's vector.
        hidden: Widths of the bottom, or of each expert.
        tower_hidden: Widths of each task's tower.
        num_experts: Experts, where the architecture has them.
        dropout: Share of hidden units dropped in training.
    """

    embedding_dim: int = Field(default=16, ge=1)
    hidden: Annotated[tuple[int, ...], Field(min_length=1)] = (128, 64)
    tower_hidden: tuple[int, ...] = (32,)
    num_experts: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class MultiTaskModel(nn.Module, ABC):
    """A ranker with one output a task.

    Args:
        schema: What it reads.
        tasks: Names of its tasks.
        config: Its sizes.
    """

    def __init__(self, schema: FeatureSchema, tasks: Sequence[str], config: ModelConfig) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.config = config
        self.features = Features(schema, config.embedding_dim)

    @abstractmethod
    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, a logit (binary) or a prediction of log1p(seconds) (duration), each ``[N]``."""
