"""ESMM: conversions learnt over all impressions, through the product with the click.

X. Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion Rate",
SIGIR 2018. https://arxiv.org/abs/1804.07931

Equations::

    z_k     = t_k(f_k([u; c]))                       one network a task, embeddings shared
    p_ctr   = sigmoid(z_ctr),  p_cvr = sigmoid(z_cvr)
    p_ctcvr = p_ctr p_cvr
    L       = BCE(click, p_ctr) + BCE(click and conversion, p_ctcvr)      both over all impressions

There is no loss on p_cvr alone. Funnels may be longer: each later stage is trained on the product of its own and
all earlier stages' probabilities. Other tasks, a duration or a count with a condition among them, keep their own
loss over their own rows. Without any funnel in the data this is one network a task over shared embeddings.

Shapes: networks ``[N, T, H]``, z_k ``[N, W_k]``. Heads: ``ctr`` and ``cvr`` (conditional) and ``ctcvr`` (joint).

Parameters, with first layers of ``U + C + 1`` inputs: ``T`` networks and ``T`` towers.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.tasks import Task
from training.heads.registry import head_of
from training.inputs import TensorInputs
from training.losses import RowLoss, own_row_loss
from training.models.base import ModelConfig, MultiTaskModel
from training.models.entire_space import TaskNetworks, funnels, joint_row_loss, with_joint_heads
from training.models.registry import register

__all__ = ["Esmm"]


@register("esmm", title="ESMM (Ma et al., SIGIR 2018)", link="https://arxiv.org/abs/1804.07931")
class Esmm(MultiTaskModel):
    """Entire-space multi-task model."""

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.funnels = funnels(self.task_specs)
        widths = {name: head_of(task).raw_width for name, task in self.task_specs.items()}
        self.networks = TaskNetworks(self.features, widths, config.hidden, config.tower_hidden, config.dropout)

    @classmethod
    def adapt_tasks(cls, tasks: Sequence[Task], _config: ModelConfig) -> tuple[Task, ...]:
        """Add the head of each joint probability."""
        return with_joint_heads(tasks)

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``; of later stages the conditional logit."""
        u_RU, c_NC = self.features(inputs)
        raw: dict[str, Tensor] = self.networks(u_RU, c_NC, inputs)
        return raw

    def row_losses(
        self, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor], inputs: TensorInputs
    ) -> dict[str, RowLoss]:
        """Give the joint event's loss over all rows for later stages, their own loss for all other tasks."""
        return {
            name: joint_row_loss((name, *self.funnels[name]), raw, labels)
            if name in self.funnels
            else own_row_loss(task, raw[name], labels, inputs)
            for name, task in self.task_specs.items()
        }

    def task_modules(self) -> list[nn.Module]:
        """The towers; the networks below serve later stages too."""
        return [self.networks.towers]
