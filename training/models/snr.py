"""SNR: sub-networks in levels, with learned connections between them that can be switched off.

J. Ma, Z. Zhao, J. Chen, A. Li, L. Hong & E. Chi, "SNR: Sub-Network Routing for Flexible Parameter Sharing in
Multi-Task Learning", AAAI 2019. https://doi.org/10.1609/aaai.v33i01.3301216

Equations, u_j the S sub-networks of a level and v_i what enters sub-network i of the next, or tower i::

    v_i = sum_j z_ij W_ij u_j        SNR-Trans; the sub-network is then u_i = relu(v_i + b_i)
    v_i = sum_j z_ij u_j             SNR-Aver; the sub-network is then u_i = relu(W_i v_i + b_i)
    L   = sum_k L_k + lambda * expected count of open connections

z are hard concrete gates (:mod:`training.models.hard_concrete`), drawn once a batch for each connection in training
and constant in serving. The first level's sub-networks read [u; c]. SNR-Trans splits the layers of one shared bottom
into blocks: with every z at 1 its sub-networks are a shared bottom of S times the width. With S = T and a diagonal z
it is single-task networks.

Shapes: u ``[N, S, H]``, v ``[N, S, H]`` or ``[N, T, H]``, z ``[O, I]`` from I inputs to O outputs. Parameters: S first
layers, ``S * S * (1 + H_l H_l+1) + S H_l+1`` a level and ``S * T * (1 + H * H)`` to the towers (Trans), ``S * S + S
(H_l + 1) H_l+1`` and ``S * T`` (Aver), T towers.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel, ParameterGroup
from training.models.hard_concrete import HardConcrete
from training.models.layers import StackedLinear
from training.models.registry import register

__all__ = ["Snr", "SnrOptions"]


class SnrOptions(Frozen):
    """Options of sub-network routing.

    Args:
        kind: Whether connections transform what they carry, or only weigh it.
        l0: lambda, the price of an open connection; 0 leaves all connections to the losses.
        start: log a of every connection at the start; 3 gives z = 1 in serving and closes 1 draw of 100 in training.
        learning_rate_factor: Of log a, which has far to go from open to closed. Our choice.
    """

    kind: Literal["trans", "aver"] = "trans"
    l0: float = Field(default=1e-4, ge=0)
    start: float = 3.0
    learning_rate_factor: float = Field(default=10.0, gt=0)


class Average(nn.Module):
    """``v_i = sum_j z_ij u_j``, ``[N, I, H] → [N, O, H]``."""

    def __init__(self, inputs: int, outputs: int, start: float) -> None:
        super().__init__()
        self.gates = HardConcrete(inputs, outputs, start)

    def forward(self, u_NIH: Tensor) -> Tensor:
        """Weigh and sum."""
        return torch.matmul(self.gates(), u_NIH)


class Transformation(nn.Module):
    """``v_i = sum_j z_ij W_ij u_j``, ``[N, I, H] → [N, O, K]``, as one matrix product."""

    def __init__(self, inputs: int, outputs: int, start: float, width: int, out: int) -> None:
        super().__init__()
        self.gates = HardConcrete(inputs, outputs, start)
        bound = 1.0 / math.sqrt(inputs * width)  # as the one layer that these are the blocks of
        self.weight_IHOK = nn.Parameter(torch.empty(inputs, width, outputs, out).uniform_(-bound, bound))

    def forward(self, u_NIH: Tensor) -> Tensor:
        """Transform, weigh and sum."""
        inputs, width, outputs, out = self.weight_IHOK.shape
        gated_IHOK = self.weight_IHOK * self.gates().T.reshape(inputs, 1, outputs, 1)
        v_NX = torch.matmul(u_NIH.flatten(1), gated_IHOK.reshape(inputs * width, outputs * out))
        return v_NX.reshape(-1, outputs, out)


@register(
    "snr", title="SNR, sub-network routing (Ma et al., AAAI 2019)", link="https://doi.org/10.1609/aaai.v33i01.3301216"
)
class Snr(MultiTaskModel):
    """``num_experts`` sub-networks a level, routed to each other and to the towers."""

    Options = SnrOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = SnrOptions(**config.options)
        count, widths = config.num_experts, config.hidden
        self.first = self.features.first_layer(count * widths[0])
        self.routes = nn.ModuleList(self._route(count, a, b) for a, b in pairwise(widths))
        self.levels = nn.ModuleList(self._level(count, a, b) for a, b in pairwise(widths))
        self.to_towers = self._route(len(self.tasks), widths[-1], widths[-1])
        self.dropout = nn.Dropout(config.dropout)
        self.towers = self.make_towers(widths[-1])

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        u_NX = self.dropout(torch.relu(self.first(u_RU, c_NC, inputs.request_index)))
        u_NSH = u_NX.reshape(-1, self.config.num_experts, self.config.hidden[0])
        for route, level in zip(self.routes, self.levels, strict=True):
            v_SNH = route(u_NSH).transpose(0, 1)
            u_NSH = self.dropout(torch.relu(level(v_SNH))).transpose(0, 1)
        v_NTH = self.to_towers(u_NSH)
        return {task: self.towers[task](v_NH) for task, v_NH in zip(self.tasks, v_NTH.unbind(1), strict=True)}

    def penalty(self, _raw: Mapping[str, Tensor]) -> Tensor | None:
        """Give lambda times the expected count of open connections; None where they cost nothing."""
        if self.options.l0 == 0.0:
            return None
        return self.options.l0 * torch.stack([gates.expected_open() for gates in self.gates()]).sum()

    def gates(self) -> list[HardConcrete]:
        """Give the gates of every level, the towers' last."""
        return [module for module in self.modules() if isinstance(module, HardConcrete)]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Step the gates faster and never decay them: log a = 0 is a gate half open, not a simpler model."""
        weights = [gates.log_alpha_OI for gates in self.gates()]
        factor = self.options.learning_rate_factor
        return [ParameterGroup(parameters=weights, learning_rate_factor=factor, has_decay=False)]

    def _route(self, outputs: int, width: int, out: int) -> nn.Module:
        count, start = self.config.num_experts, self.options.start
        if self.options.kind == "aver":
            return Average(count, outputs, start)
        return Transformation(count, outputs, start, width, out)

    def _level(self, count: int, width: int, out: int) -> nn.Module:
        return StackedLinear(count, width, out) if self.options.kind == "aver" else Bias(count, out)


class Bias(nn.Module):
    """What is left of a sub-network of SNR-Trans before its activation: ``[S, N, H]`` plus a bias a unit."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.bias_S1H = nn.Parameter(torch.zeros(count, 1, width))

    def forward(self, v_SNH: Tensor) -> Tensor:
        """Add it."""
        return v_SNH + self.bias_S1H
