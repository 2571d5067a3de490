"""STEM-Net: every task embeds for itself too, and reads the others' experts without teaching them.

L. Su, J. Pan et al., "STEM: Unleashing the Power of Embeddings for Multi-Task Recommendation", AAAI 2024.
https://arxiv.org/abs/2308.13537

Equations, with T + 1 sets of tables: x_k = [u; c] embedded with task k's, x_s with the shared ones; sg stops the
gradient::

    e_ki = f_ki(x_k),   e_si = f_si(x_s)
    g_k  = softmax(G_k(x_k + x_s))                              over all experts of all tasks and the shared ones
    h_k  = sum_i g_k·e_ki + sum_i g_k·e_si + sum_{j≠k, i} g_k·sg(e_ji)
    z_k  = t_k(h_k)

All forward, task-specific backward: h_k reads every expert, and the experts and tables of task j learn from the loss
of j alone. With more levels, h_k takes the place of x_k, and that of x_s is taken by the mixture of a shared gate
``softmax(G_s(x_s))``, which sees all experts and stops nothing: below the last level tasks teach each other through it.

This follows the abstract and the authors' code (github.com/LiangcaiSu/STEM, ``models/STEM.py``), whose defaults are
ours: one level, gates with hidden layers of 128 and 64. Its dropout and normalisation inside gates are left out.

Shapes: own experts ``[N, T·M, H]``, shared ``[N, S, H]``, gates ``[N, T, T·M + S]``, z_k ``[N, W_k]``; vectors of all
tables ``[T + 1, …]``, the shared last.

Parameters: T + 1 times the tables; ``T·M + S`` experts with first layers of ``U + C + 1`` inputs; ``T`` gates with
``T·M + S`` outputs; ``T`` towers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.expert_groups import StackedFactored
from training.models.extraction import LevelSizes
from training.models.gating import shared_names, task_names
from training.models.layers import Features, StackedLinear
from training.models.registry import register
from training.models.stem_level import StemGates, StemLevel

__all__ = ["Stem", "StemOptions"]


class StemOptions(StemGates):
    """Options of STEM-Net.

    Args:
        levels: Levels of experts.
    """

    levels: int = Field(default=1, ge=1)


@register("stem", title="STEM-Net (Su et al., AAAI 2024)", link="https://arxiv.org/abs/2308.13537")
class Stem(MultiTaskModel):
    """Shared and task-specific embeddings; ``features`` are the shared ones."""

    Options = StemOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        options = StemOptions.model_validate(config.options)
        self.sizes = LevelSizes(len(self.tasks), options, config.num_experts, config.hidden, config.dropout)
        self.task_features = nn.ModuleDict(
            {task: Features(schema, config.embedding_dim, config.attention_hidden) for task in self.tasks}
        )
        width_u, width_c = self.features.request_dim, self.features.candidate_dim
        reads: list[Callable[..., nn.Module]] = [partial(StackedFactored, request_dim=width_u, candidate_dim=width_c)]
        reads += [partial(StackedLinear, in_dim=config.hidden[-1])] * (options.levels - 1)
        self.levels = nn.ModuleList(
            StemLevel(read, self.sizes, options, is_last=level == options.levels)
            for level, read in enumerate(reads, start=1)
        )
        self.towers = self.make_towers(config.hidden[-1])

    @property
    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """All experts of the last level for every task: own ones in the order of the tasks, then the shared."""
        return dict.fromkeys(self.tasks, task_names(self.tasks, self.sizes.own) + shared_names(self.sizes.shared))

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        mixed_NTH, _ = self.mixtures(inputs)
        return {task: self.towers[task](h_NH) for task, h_NH in zip(self.tasks, mixed_NTH.unbind(1), strict=True)}

    def gates(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, the weights over all experts of the last level, ``[N, T·M + S]``."""
        _, weights_NTE = self.mixtures(inputs)
        return {task: weights_NTE[:, position] for position, task in enumerate(self.tasks)}

    def mixtures(self, inputs: TensorInputs) -> tuple[Tensor, Tensor]:
        """Give what the towers read, ``[N, T, H]``, and the weights that mixed it."""
        vectors = [features(inputs) for features in (*self.task_features.values(), self.features)]
        u_GRU, c_GNC = (torch.stack(side) for side in zip(*vectors, strict=True))
        first, *later = self.levels
        mixed, weights = first(u_GRU, c_GNC, request_index=inputs.request_index)
        for level in later:
            mixed, weights = level(mixed.transpose(0, 1))
        return mixed, weights

    def task_modules(self) -> list[nn.Module]:
        """Towers, the last level's own experts and gates; tables too, where no shared mixture reaches them."""
        last = cast(StemLevel, self.levels[-1])
        tables = [self.task_features] if len(self.levels) == 1 else []
        return [self.towers, last.own, last.task_gates, *tables]
