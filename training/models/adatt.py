"""AdaTT: every task has experts of its own at every level, and may take from all others'.

D. Li, Z. Zhang, S. Yuan, M. Gao, W. Zhang, C. Yang, X. Liu & J. Yang, "AdaTT: Adaptive Task-to-Task Fusion Network
for Multitask Learning in Recommendations", KDD 2023. https://arxiv.org/abs/2304.04959

Equations, for every level l and unit k (a task, or the shared unit), E^l all experts of the level::

    f_ki  = relu(W_ki x_k + b_ki)                   m experts a task, each reading its own unit's x
    x_k^+ = softmax(G_k x_k) E^l + v_k [f_k1 … f_km]
    z_k   = t_k(x_k)

The first level's x is [u; c] for every unit. The gate G is one linear layer; the second term is a residual of the
unit's native experts with learned weights v that are the same for every candidate (1 where a unit has one expert).
By default there are only tasks' units (the paper's AdaTT-sp); with shared experts there is one more unit, whose
output only feeds the next level, so it has none at the last.

Starts: gates as the plain mean of all experts, v uniform within 1 / sqrt(m).

Shapes: x ``[N, U, H]`` for U units, experts ``[N, E, H]``, gates ``[N, U, E]``, z_k ``[N, W_k]``. Parameters of a
level: ``E`` experts, ``U * E`` gate rows, each with ``inputs + 1``, and E native weights; T towers.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.layers import StackedLinear, start_uniform
from training.models.registry import register

__all__ = ["AdaTT", "AdaTTOptions"]


class AdaTTOptions(Frozen):
    """Options of AdaTT.

    Args:
        shared_experts: Experts of the shared unit at every level; 0 leaves it out (AdaTT-sp).
    """

    shared_experts: int = Field(default=0, ge=0)


class Units(nn.Module):
    """Which expert belongs to which unit, and how much a unit takes of its own.

    Args:
        own: Experts of each unit, in the order of the experts.
        others: Experts behind them whose unit has no output at this level.
    """

    owner_UX: Tensor

    def __init__(self, own: Sequence[int], others: int) -> None:
        super().__init__()
        self.count, self.experts, self.others = len(own), sum(own) + others, others
        owners_X = torch.repeat_interleave(torch.arange(len(own)), torch.tensor(own))
        self.register_buffer("owner_UX", F.one_hot(owners_X, len(own)).T.float(), persistent=False)
        self.native = nn.ParameterList(_native(each) for each in own)

    def forward(self, logits_NX: Tensor, experts_NEH: Tensor) -> Tensor:
        """Give every unit's output, ``[N, U, H]``."""
        # A sum, not an addition in place: that would change the softmax under its own gradient.
        weights_NUE = self.gate_weights(logits_NX) + self.native_weights()
        return torch.matmul(weights_NUE, experts_NEH)

    def gate_weights(self, logits_NX: Tensor) -> Tensor:
        """Give each unit's weights over all experts, ``[N, U, E]``, rows summing to 1."""
        return torch.softmax(logits_NX.reshape(-1, self.count, self.experts), dim=-1)

    def native_weights(self) -> Tensor:
        """Give the residual's weights, ``[U, E]``: 0 for experts of other units."""
        return F.pad(self.owner_UX * torch.cat(list(self.native)), (0, self.others))


def _native(experts: int) -> nn.Parameter:
    """Give v of one unit; a single expert has weight 1, which is not learned."""
    if experts == 1:
        return nn.Parameter(torch.ones(1), requires_grad=False)
    bound = 1.0 / math.sqrt(experts)
    return nn.Parameter(torch.empty(experts).uniform_(-bound, bound))


class DeeperExperts(nn.Module):
    """Experts of one level whose units read different inputs, ``[N, U, D] → [N, E, H]``."""

    def __init__(self, tasks: int, own: int, shared: int, width: int, out: int) -> None:
        super().__init__()
        self.tasks, self.experts, self.out = tasks, tasks * own + shared, out
        self.own = StackedLinear(tasks, width, own * out)
        self.shared = StackedLinear(1, width, shared * out) if shared else None

    def forward(self, x_UND: Tensor) -> Tensor:
        """Give the linear part of every expert."""
        parts = [self.own(x_UND[: self.tasks])]
        if self.shared is not None:
            parts.append(self.shared(x_UND[self.tasks :]))
        return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1).reshape(-1, self.experts, self.out)


@register("adatt", title="AdaTT (Li et al., KDD 2023)", link="https://arxiv.org/abs/2304.04959")
class AdaTT(MultiTaskModel):
    """Adaptive task-to-task fusion; one level a hidden width, ``num_experts`` experts a task and level."""

    Options = AdaTTOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        own, shared, count = config.num_experts, AdaTTOptions(**config.options).shared_experts, len(self.tasks)
        inner, last = [own] * count + [shared] * (shared > 0), [own] * count
        experts, pairs = sum(inner), list(pairwise(config.hidden))
        units = [inner] * len(pairs) + [last]
        self.units = nn.ModuleList(Units(each, experts - sum(each)) for each in units)
        self.first = self.features.first_layer(experts * config.hidden[0])
        self.first_gates = self.features.first_layer(len(units[0]) * experts)
        self.deeper = nn.ModuleList(DeeperExperts(count, own, shared, a, b) for a, b in pairs)
        self.deeper_gates = nn.ModuleList(
            StackedLinear(len(each), a, experts) for each, (a, _) in zip(units[1:], pairs, strict=True)
        )
        start_uniform(self.first_gates)
        start_uniform(self.deeper_gates)
        self.dropout = nn.Dropout(config.dropout)
        self.towers = self.make_towers(config.hidden[-1])

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        experts_NX = self.dropout(torch.relu(self.first(u_RU, c_NC, inputs.request_index)))
        experts_NEH = experts_NX.reshape(-1, self.units[0].experts, self.config.hidden[0])
        x_NUH = self.units[0](self.first_gates(u_RU, c_NC, inputs.request_index), experts_NEH)
        for units, experts, gates in zip(self.units[1:], self.deeper, self.deeper_gates, strict=True):
            x_UNH = x_NUH.transpose(0, 1)
            logits_NX = gates(x_UNH[: units.count]).transpose(0, 1).flatten(1)
            x_NUH = units(logits_NX, self.dropout(torch.relu(experts(x_UNH))))
        return {task: self.towers[task](x_NH) for task, x_NH in zip(self.tasks, x_NUH.unbind(1), strict=True)}
