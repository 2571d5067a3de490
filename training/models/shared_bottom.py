"""Shared-bottom: one network for all tasks, one tower each.

R. Caruana, "Multitask Learning", Machine Learning 28, 1997. https://doi.org/10.1023/A:1007379606734

Equations::

    h   = f([u; c])          f an MLP whose first layer is factored
    z_k = t_k(h)             t_k the tower of task k

Shapes: u ``[R, U]``, c ``[N, C]``, h ``[N, H]``, z_k ``[N, W_k]``.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.layers import Mlp
from training.models.registry import register

__all__ = ["SharedBottom"]


@register("shared_bottom", title="Shared-bottom (Caruana, 1997)", link="https://doi.org/10.1023/A:1007379606734")
class SharedBottom(MultiTaskModel):
    """The baseline that every gain is measured against."""

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        first, *rest = config.hidden
        self.first = self.features.first_layer(first)
        self.rest = nn.Sequential(nn.ReLU(), nn.Dropout(config.dropout), Mlp(first, rest, config.dropout))
        self.towers = self.make_towers(config.hidden[-1])

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        h_NH: Tensor = self.rest(self.first(u_RU, c_NC, inputs.request_index))
        return {task: self.towers[task](h_NH) for task in self.tasks}
