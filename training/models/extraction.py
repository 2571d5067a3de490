"""The levels that CGC and PLE are made of: task experts, shared experts, and gates that choose from both.

H. Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for Personalized
Recommendations", RecSys 2020. https://doi.org/10.1145/3383313.3412236

Shapes: M own experts a task, S shared ones, E = T·M + S of a level in the order of the tasks, shared last;
G = T + 1 selectors (what the tasks and the shared experts read) behind all but the last level, T behind that.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.expert_groups import GroupedExperts
from training.models.gating import Blocks, GateOptions, GateSoftmax
from training.models.layers import Experts, Features, StackedLinear, start_uniform

__all__ = ["ExtractionOptions", "FirstLevel", "LaterLevel", "Level", "LevelSizes"]


class ExtractionOptions(GateOptions):
    """Options of CGC and PLE.

    Args:
        shared_experts: Experts that all tasks use, of each level; None takes ``num_experts``.
        task_experts: Experts that one task alone uses, of each task and level; None takes ``num_experts``.
    """

    shared_experts: int | None = Field(default=None, ge=1)
    task_experts: int | None = Field(default=None, ge=1)


class LevelSizes:
    """Sizes that all levels of a model have in common: T, M, S, the experts' widths and dropout."""

    def __init__(
        self, tasks: int, options: ExtractionOptions, num_experts: int, hidden: Sequence[int], dropout: float
    ) -> None:
        self.tasks = tasks
        self.own = options.task_experts or num_experts
        self.shared = options.shared_experts or num_experts
        self.hidden, self.dropout = tuple(hidden), dropout

    @property
    def choice(self) -> int:
        """Experts that a task's gate chooses from: its own and the shared ones."""
        return self.own + self.shared

    @property
    def all(self) -> int:
        """Experts of a level, all of which the shared gate chooses from."""
        return self.tasks * self.own + self.shared


class Level(nn.Module):
    """Experts and gates of a level; where the two kinds of level differ is what these read.

    Args:
        parts: ``own``, ``shared``, ``task_gates`` and, but in the last level, ``shared_gate``.
    """

    def __init__(self, sizes: LevelSizes, gating: GateOptions, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.sizes = sizes
        self.own, self.shared, self.task_gates = parts["own"], parts["shared"], parts["task_gates"]
        self.shared_gate = parts.get("shared_gate")
        start_uniform(self.task_gates)
        if self.shared_gate is not None:
            start_uniform(self.shared_gate)
        self.softmax = GateSoftmax(gating)
        self.own_blocks = Blocks(range(sizes.tasks), sizes.tasks)

    def mix(
        self, own_NEH: Tensor, shared_NSH: Tensor, task_logits_NTA: Tensor, shared_logits_N1E: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Give the mixtures ``[N, G, H]`` and the tasks' weights over their own and the shared experts."""
        weights_NTA = self.softmax(task_logits_NTA)
        own_NGX, shared_NGS = self.own_blocks(weights_NTA[..., : self.sizes.own]), weights_NTA[..., self.sizes.own :]
        if shared_logits_N1E is not None:
            all_N1E = self.softmax(shared_logits_N1E)
            own_NGX = torch.cat([own_NGX, all_N1E[..., : -self.sizes.shared]], dim=1)
            shared_NGS = torch.cat([shared_NGS, all_N1E[..., -self.sizes.shared :]], dim=1)
        return torch.matmul(own_NGX, own_NEH) + torch.matmul(shared_NGS, shared_NSH), weights_NTA


class FirstLevel(Level):
    """The level that reads both sides; all of its first layers are factored."""

    def __init__(self, features: Features, sizes: LevelSizes, gating: GateOptions, *, is_last: bool) -> None:
        parts: dict[str, nn.Module] = {
            "own": Experts(features, sizes.tasks * sizes.own, sizes.hidden, sizes.dropout),
            "shared": Experts(features, sizes.shared, sizes.hidden, sizes.dropout),
            "task_gates": features.first_layer(sizes.tasks * sizes.choice),
        }
        if not is_last:
            parts["shared_gate"] = features.first_layer(sizes.all)
        super().__init__(sizes, gating, parts)

    def forward(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mixtures ``[N, G, H]`` and the tasks' weights ``[N, T, M + S]``."""
        sides: tuple[Any, ...] = (u_RU, c_NC, request_index)
        task_logits_NTA = self.task_gates(*sides).reshape(-1, self.sizes.tasks, self.sizes.choice)
        shared_logits = None if self.shared_gate is None else self.shared_gate(*sides).unsqueeze(1)
        return self.mix(self.own(*sides), self.shared(*sides), task_logits_NTA, shared_logits)


class LaterLevel(Level):
    """A level that reads what the one before gave: each task's experts and gate its mixture, the rest the shared."""

    def __init__(self, sizes: LevelSizes, gating: GateOptions, *, is_last: bool) -> None:
        width, first, dropout = sizes.hidden[-1], sizes.hidden[0], sizes.dropout
        of_own = StackedLinear(sizes.tasks, width, sizes.own * first)
        of_shared = StackedLinear(1, width, sizes.shared * first)
        parts: dict[str, nn.Module] = {
            "own": GroupedExperts(of_own, sizes.tasks, sizes.own, sizes.hidden, dropout),
            "shared": GroupedExperts(of_shared, 1, sizes.shared, sizes.hidden, dropout),
            "task_gates": StackedLinear(sizes.tasks, width, sizes.choice),
        }
        if not is_last:
            parts["shared_gate"] = StackedLinear(1, width, sizes.all)
        super().__init__(sizes, gating, parts)

    def forward(self, z_NGH: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mixtures ``[N, G, H]`` and the tasks' weights ``[N, T, M + S]``."""
        z_GNH = z_NGH.transpose(0, 1)
        tasks_TNH, shared_1NH = z_GNH[:-1], z_GNH[-1:]
        task_logits_NTA = self.task_gates(tasks_TNH).transpose(0, 1)
        shared_logits = None if self.shared_gate is None else self.shared_gate(shared_1NH).transpose(0, 1)
        return self.mix(self.own(tasks_TNH), self.shared(shared_1NH), task_logits_NTA, shared_logits)
