"""MMoE: experts shared by all tasks, mixed by one gate a task.

J. Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018.
https://doi.org/10.1145/3219819.3220007

Equations::

    g_k = softmax(W_k [u; c])            linear, no hidden layer, no dropout
    h_k = sum_e g_k[e] f_e([u; c])       f_e an MLP
    z_k = t_k(h_k)

Shapes: experts ``[N, E, H]``, gates ``[N, T, E]``, h ``[N, T, H]``, z_k ``[N]``. The first layers of all experts
and gates read both sides, so they are factored; experts are stacked to one product.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from contract.features import FeatureSchema
from training.models.base import ModelConfig, MultiTaskModel
from training.models.layers import TensorInputs, tower
from training.models.registry import register

__all__ = ["Mmoe", "StackedLinear"]


class StackedLinear(nn.Module):
    """E linear layers side by side, ``[E, N, I] → [E, N, O]``."""

    def __init__(self, stack: int, in_dim: int, out: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(in_dim)
        self.weight_EIO = nn.Parameter(torch.empty(stack, in_dim, out).uniform_(-bound, bound))
        self.bias_E1O = nn.Parameter(torch.empty(stack, 1, out).uniform_(-bound, bound))

    def forward(self, x_ENI: Tensor) -> Tensor:
        """Apply each layer to its own slice."""
        return torch.matmul(x_ENI, self.weight_EIO) + self.bias_E1O


@register("mmoe", title="MMoE (Ma et al., KDD 2018)")
class Mmoe(MultiTaskModel):
    """Multi-gate mixture of experts."""

    def __init__(self, schema: FeatureSchema, tasks: Sequence[str], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        first, *rest = config.hidden
        self.num_experts = config.num_experts
        self.first_dim = first
        self.experts = self.features.first_layer(self.num_experts * first)
        widths = [first, *rest]
        self.deeper = nn.ModuleList(StackedLinear(self.num_experts, a, b) for a, b in pairwise(widths))
        self.gates = self.features.first_layer(len(self.tasks) * self.num_experts)
        for parameter in self.gates.parameters():  # every task starts with the plain mean of the experts
            nn.init.zeros_(parameter)
        self.dropout = nn.Dropout(config.dropout)
        self.towers = nn.ModuleDict(
            {task: tower(widths[-1], config.tower_hidden, config.dropout) for task in self.tasks}
        )

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one output a task, each ``[N]``."""
        u_RU, c_NC = self.features(inputs)
        experts_NEH = self._experts(u_RU, c_NC, inputs.request_index)
        gates_NTE = self.gate_weights(u_RU, c_NC, inputs.request_index)
        mixed_NTH = torch.matmul(gates_NTE, experts_NEH)
        return {
            task: torch.flatten(self.towers[task](mixed_NTH[:, position])) for position, task in enumerate(self.tasks)
        }

    def gate_weights(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give each task's weights over the experts, ``[N, T, E]``, rows summing to 1."""
        logits = self.gates(u_RU, c_NC, request_index)
        return torch.softmax(logits.reshape(-1, len(self.tasks), self.num_experts), dim=-1)

    def _experts(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        h_NX = self.dropout(torch.relu(self.experts(u_RU, c_NC, request_index)))
        h_ENH: Tensor = h_NX.reshape(-1, self.num_experts, self.first_dim).transpose(0, 1)
        for layer in self.deeper:
            h_ENH = self.dropout(torch.relu(layer(h_ENH)))
        return h_ENH.transpose(0, 1)
