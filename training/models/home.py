"""HoME: a hierarchy of gated experts, first for groups of tasks, then for tasks; all experts normalised.

X. Wang, J. Cao, Z. Fu, K. Gai, G. Zhou, "HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at Kuaishou",
KDD 2025. https://arxiv.org/abs/2408.05430

Equations, v = [u; c], a group g of tasks, and the global group s::

    f(x)     = swish(batch_norm(mlp(x)))                                   expert normalisation
    phi(x)   = x · 2·sigmoid(x A B)                                        feature gate, of its own for each bank
    z_g      = gate_g(v) · [f_g ; f_s] + self_g(v) · f_g                   f_g = f_g(phi_g(v)), f_s = f_s(phi_s(v))
    z_s      = gate_s(v) · [all f_g ; f_s] + self_s(v) · f_s
    h_k      = gate_k(x_k) · [own ; group ; shared] + self_k(x_k) · own    x_k = [z_g(k) ; z_s]
    z_k      = t_k(h_k)

The second level's own experts read phi_k(x_k), its group experts phi_g([z_g; z_s]), its shared ones phi_s(z_s).
Gates are linear with a softmax; self gates too, or a sigmoid where there is one expert.

Read in the paper's abstract: the three mechanisms (normalised experts with swish, a hierarchy mask, feature and self
gates) and the diseases they treat. Its equations could not be read here; they are taken from two public
re-implementations and, where those differ, are our reading: one low-rank pair a feature gate, the inputs of the
second level's experts, and self gates that read what the gates read. Ours alone, to keep what belongs to the request
computed once a request: the feature gate of the request's side reads that side only.

Shapes: B groups, T tasks; first level ``[N, B·P + S, H]``, second ``[N, T·M + B·P + S, H]``, gates ``[N, T, M+P+S]``.

Parameters: ``B·P + S`` experts of ``U + C + 1`` inputs, ``T·M + B·P`` of ``2H + 1`` and ``S`` of ``H + 1``, each with
``2H`` more for its norm; the gates' rows; rank times the width read and gated for each feature gate; ``T`` towers.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.tasks import Task
from training.errors import InvalidOption
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.gating import GateOptions, group_names, shared_names, task_names
from training.models.home_levels import GroupLevel, HomeSizes, TaskLevel
from training.models.registry import register

__all__ = ["Home", "HomeOptions"]

_Group = Annotated[tuple[str, ...], Field(min_length=1)]


class HomeOptions(GateOptions):
    """Options of HoME.

    Args:
        groups: Names of the tasks of each group, each task in one; None puts all into one group.
        shared_experts: Experts that all tasks use, of each level; None takes ``num_experts``, as below.
        group_experts: Experts of each group, of each level.
        task_experts: Experts of each task.
        rank: Of every feature gate.
    """

    groups: Annotated[tuple[_Group, ...], Field(min_length=1)] | None = None
    shared_experts: int | None = Field(default=None, ge=1)
    group_experts: int | None = Field(default=None, ge=1)
    task_experts: int | None = Field(default=None, ge=1)
    rank: int = Field(default=16, ge=1)


@register("home", title="HoME (Wang et al., KDD 2025)", link="https://arxiv.org/abs/2408.05430")
class Home(MultiTaskModel):
    """Hierarchy of multi-gate experts."""

    Options = HomeOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        options = HomeOptions.model_validate(config.options)
        self.sizes = HomeSizes(
            group_of_task=_group_of_each(self.tasks, options.groups or (self.tasks,)),
            shared=options.shared_experts or config.num_experts,
            group=options.group_experts or config.num_experts,
            own=options.task_experts or config.num_experts,
            rank=options.rank,
            hidden=config.hidden,
            dropout=config.dropout,
        )
        self.group_level = GroupLevel(self.features, self.sizes, options)
        self.task_level = TaskLevel(self.sizes, options)
        self.towers = self.make_towers(config.hidden[-1])

    @property
    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """The second level's experts: of the task, of its group, of all."""
        shared, sizes = shared_names(self.sizes.shared), self.sizes
        return {
            task: task_names([task], sizes.own) + group_names(group, sizes.group) + shared
            for task, group in zip(self.tasks, sizes.group_of_task, strict=True)
        }

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        mixed_NTH, _ = self.mixtures(inputs)
        return {task: self.towers[task](h_NH) for task, h_NH in zip(self.tasks, mixed_NTH.unbind(1), strict=True)}

    def gates(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, the gate's weights in the second level, ``[N, M + P + S]``, without those of the self gate."""
        _, weights_NTA = self.mixtures(inputs)
        return {task: weights_NTA[:, position] for position, task in enumerate(self.tasks)}

    def mixtures(self, inputs: TensorInputs) -> tuple[Tensor, Tensor]:
        """Give what the towers read, ``[N, T, H]``, and the gates' weights that mixed it."""
        u_RU, c_NC = self.features(inputs)
        mixed: tuple[Tensor, Tensor] = self.task_level(self.group_level(u_RU, c_NC, inputs.request_index))
        return mixed

    def task_modules(self) -> list[nn.Module]:
        """Towers, and the second level's own experts and gates."""
        return [self.towers, *self.task_level.own_modules()]


def _group_of_each(tasks: Sequence[str], groups: Sequence[Sequence[str]]) -> tuple[int, ...]:
    named = [task for group in groups for task in group]
    if sorted(named) != sorted(tasks):
        raise InvalidOption(
            f"option 'groups' of home names the tasks {', '.join(named)}",
            fix=f"name each of {', '.join(tasks)} in exactly one group",
        )
    where = {task: position for position, group in enumerate(groups) for task in group}
    return tuple(where[task] for task in tasks)
