"""Single-task: one whole network a task, embeddings included; nothing is shared.

The other baseline: a multi-task model that loses to it on a task shows negative transfer (the seesaw of
H. Tang et al., RecSys 2020, https://doi.org/10.1145/3383313.3412236).

Equations::

    z_k = t_k(f_k([u_k; c_k]))      u_k, c_k embedded with task k's own tables

Shapes as in :mod:`training.models.shared_bottom`.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.registry import register
from training.models.shared_bottom import SharedBottom

__all__ = ["SingleTask"]


@register("single_task", title="Single-task networks side by side", link="")
class SingleTask(MultiTaskModel):
    """One shared-bottom of a single task for each task."""

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        del self.features  # each network embeds for itself
        self.networks = nn.ModuleDict(
            {name: SharedBottom(schema, [task], config) for name, task in self.task_specs.items()}
        )

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        return {task: self.networks[task](inputs)[task] for task in self.tasks}

    def task_modules(self) -> list[nn.Module]:
        """All of it."""
        return [self.networks]
