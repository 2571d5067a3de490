"""What every architecture is: a module from factored inputs to the raw outputs of each task's tower."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.heads.registry import head_of
from training.inputs import TensorInputs
from training.losses import RowLoss, own_row_loss
from training.models.embedding import ATTENTION_HIDDEN
from training.models.layers import Features, tower
from training.options import NoOptions

__all__ = ["ModelConfig", "MultiTaskModel", "ParameterGroup"]


class ModelConfig(Frozen):
    """Sizes of a network; each architecture reads those that it has.

    Args:
        embedding_dim: Width of every id field's vector.
        hidden: Widths of the bottom, or of each expert.
        tower_hidden: Widths of each task's tower.
        num_experts: Experts, where the architecture has them; of each group where it has several.
        dropout: Share of hidden units dropped in training.
        attention_hidden: Hidden units of the attention to each sequence that has one.
        options: What the architecture has of its own, by name; see its ``Options``.
    """

    embedding_dim: int = Field(default=16, ge=1)
    hidden: Annotated[tuple[int, ...], Field(min_length=1)] = (128, 64)
    tower_hidden: tuple[int, ...] = (32,)
    num_experts: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_hidden: int = Field(default=ATTENTION_HIDDEN, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Dense weights that are stepped otherwise than the rest.

    Args:
        parameters: Which; never an embedding table.
        learning_rate_factor: Times the run's learning rate.
        has_decay: False where a weight near 0 is no simpler model, as with mixing weights that start at 0.9.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate_factor: float = 1.0
    has_decay: bool = True


class MultiTaskModel(nn.Module, ABC):
    """A ranker with one tower a task.

    Args:
        schema: What it reads.
        tasks: What the data set declares, fitted; ``task_specs`` has what it serves of them.
        config: Its sizes.
    """

    Options: ClassVar[type[Frozen]] = NoOptions
    is_calibrated: ClassVar[bool] = True
    """False where the loss makes scores of what looks like probabilities; the export then calibrates them."""

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__()
        self.task_specs: dict[str, Task] = {task.name: task for task in self.adapt_tasks(tasks, config)}
        self.tasks = tuple(self.task_specs)
        self.config = config
        self.features = Features(schema, config.embedding_dim, config.attention_hidden)

    @classmethod
    def adapt_tasks(cls, tasks: Sequence[Task], _config: ModelConfig) -> tuple[Task, ...]:
        """Give the tasks as this architecture serves them: all of them, unless it adds or drops heads.

        Giving the result in again changes nothing: a checkpoint is built from its served tasks.
        """
        return tuple(tasks)

    @abstractmethod
    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, what its head reads, ``[N, W]``: a logit, or a prediction of log1p(seconds)."""

    def served(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring the outputs to what the heads finish; needed only where training reads them differently."""
        return raw

    def row_losses(
        self, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor], inputs: TensorInputs
    ) -> dict[str, RowLoss]:
        """Give every task's loss of every row; each over its own label's rows by default."""
        return {name: own_row_loss(task, raw[name], labels, inputs) for name, task in self.task_specs.items()}

    def penalty(self, _raw: Mapping[str, Tensor]) -> Tensor | None:
        """Give what is added to the sum of the task losses, a scalar; None where there is nothing."""
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Give the weights that the paper steps otherwise than the rest; none by default."""
        return []

    def shared_parameters(self) -> list[nn.Parameter]:
        """Give the dense weights that several tasks share, on which gradients are balanced.

        Embedding tables are left out: they are large, and each row sees few tasks at a time.
        """
        tables = {id(m.weight) for m in self.modules() if isinstance(m, nn.Embedding)}
        own = {id(p) for module in self.task_modules() for p in module.parameters()}
        return [p for p in self.parameters() if id(p) not in tables and id(p) not in own]

    def task_modules(self) -> list[nn.Module]:
        """Give the modules that belong to one task alone; the towers by default."""
        towers = getattr(self, "towers", None)
        return [towers] if isinstance(towers, nn.Module) else []

    def tower(self, task: str, in_dim: int) -> nn.Sequential:
        """Make the tower of one task, as wide as its head reads."""
        width = head_of(self.task_specs[task]).raw_width
        return tower(in_dim, self.config.tower_hidden, self.config.dropout, out=width)

    def make_towers(self, in_dim: int) -> nn.ModuleDict:
        """Make one tower a task."""
        return nn.ModuleDict({task: self.tower(task, in_dim) for task in self.tasks})
