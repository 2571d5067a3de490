"""The two levels of HoME: what groups of tasks make of the input, and what tasks make of that.

Source and equations: see :mod:`training.models.home`. Shapes: B groups of P experts each, S shared experts, M own
experts of each of T tasks; banks are the groups and, last, the shared one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.expert_groups import GroupedExperts, StackedFactored
from training.models.gating import Blocks, GateOptions, GateSoftmax
from training.models.home_layers import FeatureGate, SwishNorm, self_gate
from training.models.layers import Features, StackedLinear, start_uniform

__all__ = ["GroupLevel", "HomeSizes", "TaskLevel"]


@dataclass(frozen=True, kw_only=True)
class HomeSizes:
    """Sizes of both levels.

    Args:
        group_of_task: Position of each task's group.
        shared: S.
        group: P.
        own: M.
    """

    group_of_task: tuple[int, ...]
    shared: int
    group: int
    own: int
    rank: int
    hidden: tuple[int, ...]
    dropout: float

    @property
    def groups(self) -> int:
        """B."""
        return max(self.group_of_task) + 1

    @property
    def tasks(self) -> int:
        """T."""
        return len(self.group_of_task)

    def experts(self, first: nn.Module, groups: int, per_group: int) -> GroupedExperts:
        """Make normalised experts."""
        norm = SwishNorm(groups * per_group, self.hidden[-1])
        return GroupedExperts(first, groups, per_group, self.hidden, self.dropout, last=norm)


class GroupLevel(nn.Module):
    """The first level, over both sides: one abstraction of the input for each group, and one for all."""

    def __init__(self, features: Features, sizes: HomeSizes, gating: GateOptions) -> None:
        super().__init__()
        self.sizes = sizes
        u, c, banks, first = features.request_dim, features.candidate_dim, sizes.groups + 1, sizes.hidden[0]
        self.request_gate = FeatureGate(StackedLinear(banks, u, sizes.rank), banks, sizes.rank, u) if u else None
        of_both = StackedFactored(banks, u, c, sizes.rank)
        self.candidate_gate = FeatureGate(of_both, banks, sizes.rank, c) if c else None
        of_groups = StackedFactored(sizes.groups, u, c, sizes.group * first)
        self.group_experts = sizes.experts(of_groups, sizes.groups, sizes.group)
        self.shared_experts = sizes.experts(StackedFactored(1, u, c, sizes.shared * first), 1, sizes.shared)
        self.group_gates = features.first_layer(sizes.groups * (2 * sizes.group + sizes.shared))
        self.shared_gate = features.first_layer(sizes.groups * sizes.group + 2 * sizes.shared)
        start_uniform(self.group_gates)
        start_uniform(self.shared_gate)
        self.softmax = GateSoftmax(gating)
        self.blocks = Blocks(range(sizes.groups), sizes.groups)

    def forward(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give the abstractions, ``[N, B + 1, H]``."""
        u_1RU, c_1NC, (of_groups, of_shared) = (
            u_RU.unsqueeze(0),
            c_NC.unsqueeze(0),
            self._weights(u_RU, c_NC, request_index),
        )
        u_GRU = u_1RU if self.request_gate is None else self.request_gate(u_1RU, u_1RU)
        c_GNC = c_1NC if self.candidate_gate is None else self.candidate_gate(c_1NC, u_1RU, c_1NC, request_index)
        group_NXH = self.group_experts(u_GRU[:-1], c_GNC[:-1], request_index)
        shared_NSH = self.shared_experts(u_GRU[-1:], c_GNC[-1:], request_index)
        return torch.matmul(of_groups, group_NXH) + torch.matmul(of_shared, shared_NSH)

    def _weights(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> tuple[Tensor, Tensor]:
        """Give the weights of every bank, a row each, on the groups' experts and on the shared ones."""
        group, shared = self.sizes.group, self.sizes.shared
        logits_NBA = self.group_gates(u_RU, c_NC, request_index).reshape(-1, self.sizes.groups, 2 * group + shared)
        logits_N1A = self.shared_gate(u_RU, c_NC, request_index).unsqueeze(1)
        chosen_NBA, all_N1A = self.softmax(logits_NBA[..., group:]), self.softmax(logits_N1A[..., shared:])
        own_NBX = self.blocks(chosen_NBA[..., :group] + self_gate(logits_NBA[..., :group]))
        of_groups = torch.cat([own_NBX, all_N1A[..., :-shared]], dim=1)
        self_N1S = all_N1A[..., -shared:] + self_gate(logits_N1A[..., :shared])
        return of_groups, torch.cat([chosen_NBA[..., group:], self_N1S], dim=1)


class TaskLevel(nn.Module):
    """The second level: each task chooses from its own experts, its group's and the shared ones."""

    group_of_task_T: Tensor

    def __init__(self, sizes: HomeSizes, gating: GateOptions) -> None:
        super().__init__()
        self.sizes = sizes
        width, rank, first, groups, tasks = sizes.hidden[-1], sizes.rank, sizes.hidden[0], sizes.groups, sizes.tasks
        self.own_features = FeatureGate(StackedLinear(tasks, 2 * width, rank), tasks, rank, 2 * width)
        self.group_features = FeatureGate(StackedLinear(groups, 2 * width, rank), groups, rank, 2 * width)
        self.shared_features = FeatureGate(StackedLinear(1, width, rank), 1, rank, width)
        self.own = sizes.experts(StackedLinear(tasks, 2 * width, sizes.own * first), tasks, sizes.own)
        self.group = sizes.experts(StackedLinear(groups, 2 * width, sizes.group * first), groups, sizes.group)
        self.shared = sizes.experts(StackedLinear(1, width, sizes.shared * first), 1, sizes.shared)
        self.task_gates = StackedLinear(tasks, 2 * width, 2 * sizes.own + sizes.group + sizes.shared)
        start_uniform(self.task_gates)
        self.softmax = GateSoftmax(gating)
        self.own_blocks = Blocks(range(tasks), tasks)
        self.group_blocks = Blocks(sizes.group_of_task, groups)
        self.register_buffer("group_of_task_T", torch.tensor(sizes.group_of_task), persistent=False)

    def forward(self, z_NGH: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mixtures ``[N, T, H]`` and the gates' weights ``[N, T, M + P + S]``, without the self gates'."""
        own, group = self.sizes.own, self.sizes.group
        z_GNH = z_NGH.transpose(0, 1)
        groups_BNH, shared_1NH = z_GNH[:-1], z_GNH[-1:]
        x_BNX = torch.cat([groups_BNH, shared_1NH.expand_as(groups_BNH)], dim=-1)
        x_TNX = x_BNX.index_select(0, self.group_of_task_T)
        logits_NTA = self.task_gates(x_TNX).transpose(0, 1)
        weights_NTA: Tensor = self.softmax(logits_NTA[..., own:])
        own_NTX = self.own_blocks(weights_NTA[..., :own] + self_gate(logits_NTA[..., :own]))
        group_NTX = self.group_blocks(weights_NTA[..., own : own + group])
        mixed_NTH = torch.matmul(own_NTX, self.own(self.own_features(x_TNX, x_TNX)))
        mixed_NTH = mixed_NTH + torch.matmul(group_NTX, self.group(self.group_features(x_BNX, x_BNX)))
        shared_NSH = self.shared(self.shared_features(shared_1NH, shared_1NH))
        return mixed_NTH + torch.matmul(weights_NTA[..., own + group :], shared_NSH), weights_NTA

    def own_modules(self) -> list[nn.Module]:
        """Give what belongs to one task alone."""
        return [self.own, self.own_features, self.task_gates]
