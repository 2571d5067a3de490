"""MMoE: experts shared by all tasks, mixed by one gate a task.

J. Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018.
https://doi.org/10.1145/3219819.3220007

Equations::

    g_k = softmax(W_k [u; c])            linear, no hidden layer, no dropout
    h_k = sum_e g_k[e] f_e([u; c])       f_e an MLP
    z_k = t_k(h_k)

Shapes: experts ``[N, E, H]``, gates ``[N, T, E]``, h ``[N, T, H]``, z_k ``[N, W_k]``. The first layers of all
experts and gates read both sides, so they are factored; experts are stacked to one product.

Parameters, with first layers of ``U + C + 1`` inputs: ``E`` experts, ``T * E`` gate rows, ``T`` towers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.layers import Experts, start_uniform
from training.models.registry import register

__all__ = ["Mmoe"]


@register("mmoe", title="MMoE (Ma et al., KDD 2018)", link="https://doi.org/10.1145/3219819.3220007")
class Mmoe(MultiTaskModel):
    """Multi-gate mixture of experts."""

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.num_experts = config.num_experts
        self.experts = Experts(self.features, self.num_experts, config.hidden, config.dropout)
        self.gates = self.features.first_layer(len(self.tasks) * self.num_experts)
        start_uniform(self.gates)
        self.towers = self.make_towers(self.experts.out_dim)

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        experts_NEH = self.experts(u_RU, c_NC, inputs.request_index)
        gates_NTE = self.gate_weights(u_RU, c_NC, inputs.request_index)
        mixed_NTH = torch.matmul(gates_NTE, experts_NEH)
        return {task: self.towers[task](h_NH) for task, h_NH in zip(self.tasks, mixed_NTH.unbind(1), strict=True)}

    def gate_weights(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give each task's weights over the experts, ``[N, T, E]``, rows summing to 1."""
        logits = self.gates(u_RU, c_NC, request_index)
        return torch.softmax(logits.reshape(-1, len(self.tasks), self.num_experts), dim=-1)
