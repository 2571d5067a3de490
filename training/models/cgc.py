"""CGC (customized gate control): experts of each task's own beside shared ones; one level of PLE.

H. Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for Personalized
Recommendations", RecSys 2020, section 4.1. https://doi.org/10.1145/3383313.3412236

Equations, with x = [u; c]::

    S_k = [own experts of k ; shared experts](x)
    g_k = softmax(W_k x)                  linear, one weight for each of the M + S experts that k may use
    z_k = t_k(g_k · S_k)

Task k reads no other task's experts, in neither direction: they get no gradient from k.

Shapes: own experts ``[N, T·M, H]``, shared ``[N, S, H]``, gates ``[N, T, M + S]``, z_k ``[N, W_k]``.

Parameters, with first layers of ``U + C + 1`` inputs: ``T·M + S`` experts, ``T·(M + S)`` gate rows, ``T`` towers.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.extraction import ExtractionOptions, FirstLevel, LaterLevel, Level, LevelSizes
from training.models.gating import shared_names, task_names
from training.models.registry import register

__all__ = ["Cgc"]


@register("cgc", title="CGC (Tang et al., RecSys 2020)", link="https://doi.org/10.1145/3383313.3412236")
class Cgc(MultiTaskModel):
    """Customized gate control: the last level's mixtures go to the towers."""

    Options = ExtractionOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        options, count = self.Options.model_validate(config.options), self.num_levels(config)
        assert isinstance(options, ExtractionOptions)  # noqa: S101 - Options of this class and of its children
        self.sizes = LevelSizes(len(self.tasks), options, config.num_experts, config.hidden, config.dropout)
        self.first = FirstLevel(self.features, self.sizes, options, is_last=count == 1)
        self.later = nn.ModuleList(
            LaterLevel(self.sizes, options, is_last=level == count) for level in range(2, count + 1)
        )
        self.towers = self.make_towers(config.hidden[-1])

    def num_levels(self, _config: ModelConfig) -> int:
        """Give the number of levels: CGC is one."""
        return 1

    @property
    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """Each task's own experts of the last level, then the shared ones."""
        shared = shared_names(self.sizes.shared)
        return {task: task_names([task], self.sizes.own) + shared for task in self.tasks}

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        mixed_NTH, _ = self.mixtures(inputs)
        return {task: self.towers[task](h_NH) for task, h_NH in zip(self.tasks, mixed_NTH.unbind(1), strict=True)}

    def gates(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, the weights over its own and the shared experts of the last level, ``[N, M + S]``."""
        _, weights_NTA = self.mixtures(inputs)
        return {task: weights_NTA[:, position] for position, task in enumerate(self.tasks)}

    def mixtures(self, inputs: TensorInputs) -> tuple[Tensor, Tensor]:
        """Give what the towers read, ``[N, T, H]``, and the weights that mixed it."""
        u_RU, c_NC = self.features(inputs)
        mixed, weights = self.first(u_RU, c_NC, inputs.request_index)
        for level in self.later:
            mixed, weights = level(mixed)
        return mixed, weights

    def task_modules(self) -> list[nn.Module]:
        """Towers, and the last level's own experts and gates: no other task's loss reaches them."""
        last = cast(Level, [self.first, *self.later][-1])
        return [self.towers, last.own, last.task_gates]
