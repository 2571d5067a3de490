"""L2-soft sharing: one bottom a task, held together by the squared distance of their weights.

L. Duong, T. Cohn, S. Bird & P. Cook, "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural
Network Parser", ACL 2015. https://aclanthology.org/P15-2139/. Brought to rankers as the L2-constrained baseline of
J. Ma et al., KDD 2018, https://doi.org/10.1145/3219819.3220007.

Equations::

    h_k = f([u; c]; theta_k)             f an MLP, the same for every task
    z_k = t_k(h_k)
    L   = sum_k L_k + alpha * mean over pairs k < l of |theta_k - theta_l|^2

The papers have two tasks and so one pair; the mean over pairs keeps alpha's meaning for more. The squares are summed
over the weights, not averaged: each weight is then pulled by ``2 alpha (theta_k - theta_l)`` however many there are,
as weight decay does. All pairs cost no more than the distances to the mean::

    mean over pairs = 2 / (T - 1) * sum_k |theta_k - mean|^2

Embedding tables are shared outright: a table a task would be T times the largest part of the model, and a penalty
over all of its rows would touch each row at every step. Towers are free.

Shapes: u ``[R, U]``, c ``[N, C]``, h ``[N, T, H]``, z_k ``[N, W_k]``. Parameters: T bottoms, T towers.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.layers import Experts
from training.models.registry import register

__all__ = ["L2Soft", "L2SoftOptions"]


class L2SoftOptions(Frozen):
    """Options of L2-soft sharing.

    Args:
        alpha: How strongly the bottoms are held together; 0 lets them go their own ways.
    """

    alpha: float = Field(default=1e-2, ge=0)


@register(
    "l2_soft", title="L2-constrained twin networks (Duong et al., ACL 2015)", link="https://aclanthology.org/P15-2139/"
)
class L2Soft(MultiTaskModel):
    """Twins that start alike and pay for growing apart."""

    Options = L2SoftOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.alpha = L2SoftOptions(**config.options).alpha
        self.bottoms = Experts(self.features, len(self.tasks), config.hidden, config.dropout)
        self._start_alike()
        self.towers = self.make_towers(self.bottoms.out_dim)

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        h_NTH = self.bottoms(u_RU, c_NC, inputs.request_index)
        return {task: self.towers[task](h_NH) for task, h_NH in zip(self.tasks, h_NTH.unbind(1), strict=True)}

    def penalty(self, _raw: Mapping[str, Tensor]) -> Tensor | None:
        """Give alpha times the mean squared distance of two bottoms; None where nothing is coupled."""
        pairs_factor = 2.0 / (len(self.tasks) - 1) if len(self.tasks) > 1 else 0.0
        if self.alpha * pairs_factor == 0.0:
            return None
        # From the first task's, so that equal weights give exactly 0; their mean may be off by a rounding.
        apart = [each_TX - each_TX[:1] for each_TX in self.bottom_weights()]
        squares = [(each_TX - each_TX.mean(dim=0)).square().sum() for each_TX in apart]
        return self.alpha * pairs_factor * torch.stack(squares).sum()

    def bottom_weights(self) -> list[Tensor]:
        """Give every weight of the bottoms as ``[T, X]``, one row a task."""
        return [parameter.reshape(len(self.tasks), -1) for parameter in self.bottoms.parameters()]

    def task_modules(self) -> list[nn.Module]:
        """Bottoms and towers: each row of a bottom's weights serves one task."""
        return [self.bottoms, self.towers]

    @torch.no_grad()
    def _start_alike(self) -> None:
        for weights_TX in self.bottom_weights():
            weights_TX.copy_(weights_TX[:1].clone().expand_as(weights_TX))
