"""MMoE: experts shared by all tasks, mixed by one gate a task.

J. Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018.
https://doi.org/10.1145/3219819.3220007

Equations::

    g_k = softmax(W_k [u; c])            linear, no hidden layer, no dropout
    h_k = sum_e g_k[e] f_e([u; c])       f_e an MLP
    z_k = t_k(h_k)

Shapes: experts ``[N, E, H]``, gates ``[N, T, E]``, h ``[N, T, H]``, z_k ``[N, W_k]``. The first layers of all
experts and gates read both sides, so they are factored; experts are stacked to one product.

Parameters, with first layers of ``U + C + 1`` inputs: ``E`` experts, ``T·E`` gate rows, ``T`` towers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.gating import GateOptions, GateSoftmax, shared_names
from training.models.layers import Experts, start_uniform
from training.models.registry import register

__all__ = ["Mmoe"]


@register("mmoe", title="MMoE (Ma et al., KDD 2018)", link="https://doi.org/10.1145/3219819.3220007")
class Mmoe(MultiTaskModel):
    """Multi-gate mixture of experts."""

    Options = GateOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.num_experts = config.num_experts
        self.experts = Experts(self.features, self.num_experts, config.hidden, config.dropout)
        self.gate = self.features.first_layer(len(self.tasks) * self.num_experts)
        start_uniform(self.gate)
        self.softmax = GateSoftmax(GateOptions(**config.options))
        self.towers = self.make_towers(self.experts.out_dim)

    @property
    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """The same experts for every task."""
        return dict.fromkeys(self.tasks, shared_names(self.num_experts))

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        experts_NEH = self.experts(u_RU, c_NC, inputs.request_index)
        gates_NTE = self.gate_weights(u_RU, c_NC, inputs.request_index)
        mixed_NTH = torch.matmul(gates_NTE, experts_NEH)
        return {task: self.towers[task](h_NH) for task, h_NH in zip(self.tasks, mixed_NTH.unbind(1), strict=True)}

    def gates(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, the weights over the experts, ``[N, E]``."""
        u_RU, c_NC = self.features(inputs)
        weights_NTE = self.gate_weights(u_RU, c_NC, inputs.request_index)
        return {task: weights_NTE[:, position] for position, task in enumerate(self.tasks)}

    def gate_weights(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give each task's weights over the experts, ``[N, T, E]``, rows summing to 1."""
        logits_NX: Tensor = self.gate(u_RU, c_NC, request_index)
        weights_NTE: Tensor = self.softmax(logits_NX.reshape(-1, len(self.tasks), self.num_experts))
        return weights_NTE

    def task_modules(self) -> list[nn.Module]:
        """Towers, and gates: each row of theirs is one task's alone."""
        return [self.towers, self.gate]
