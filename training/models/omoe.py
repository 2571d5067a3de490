"""OMoE: a mixture of experts with one gate, which all tasks share.

R. Jacobs, M. Jordan, S. Nowlan, G. Hinton, "Adaptive Mixtures of Local Experts", Neural Computation 3(1), 1991.
https://doi.org/10.1162/neco.1991.3.1.79. As a multi-task model, and under this name, it is a baseline of J. Ma et
al., KDD 2018 (see :mod:`training.models.mmoe`).

Equations::

    g   = softmax(W [u; c])              linear; the same for all tasks
    h   = sum_e g[e] f_e([u; c])         f_e an MLP
    z_k = t_k(h)

Shapes: experts ``[N, E, H]``, gate ``[N, 1, E]``, h ``[N, H]``, z_k ``[N, W_k]``.

Parameters, with first layers of ``U + C + 1`` inputs: ``E`` experts, ``E`` gate rows, ``T`` towers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.gating import GateOptions, GateSoftmax, shared_names
from training.models.layers import Experts, start_uniform
from training.models.registry import register

__all__ = ["Omoe"]


@register("omoe", title="OMoE (Jacobs et al., 1991)", link="https://doi.org/10.1162/neco.1991.3.1.79")
class Omoe(MultiTaskModel):
    """One-gate mixture of experts."""

    Options = GateOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.experts = Experts(self.features, config.num_experts, config.hidden, config.dropout)
        self.gate = self.features.first_layer(config.num_experts)
        start_uniform(self.gate)
        self.softmax = GateSoftmax(GateOptions(**config.options))
        self.towers = self.make_towers(self.experts.out_dim)

    @property
    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """The same experts for every task."""
        return dict.fromkeys(self.tasks, shared_names(self.experts.count))

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        experts_NEH = self.experts(u_RU, c_NC, inputs.request_index)
        weights_N1E = self.softmax(self.gate(u_RU, c_NC, inputs.request_index)).unsqueeze(1)
        mixed_NH = torch.matmul(weights_N1E, experts_NEH).flatten(1)
        return {task: self.towers[task](mixed_NH) for task in self.tasks}

    def gates(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, the weights over the experts, ``[N, E]``: the same for each."""
        weights_NE = self.softmax(self.gate(*self.features(inputs), inputs.request_index))
        return dict.fromkeys(self.tasks, weights_NE)
