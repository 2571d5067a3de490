"""AITM: each task attends to what the task before it has learnt.

D. Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task Learning in
Targeted Display Advertising", KDD 2021. https://doi.org/10.1145/3447548.3467071

Equations, tasks t = 1 … T in declared order::

    q_t = f_t([u; c])                                  one MLP a task, embeddings shared
    z_1 = q_1,  p_{t-1} = g_t(z_{t-1})                 g_t one ReLU layer
    z_t = sum_{x in {p_{t-1}, q_t}} w_x W3 x,  w = softmax_x(<W1 x, W2 x> / sqrt(H))
    y_t = sigmoid(t_t(z_t))                            of the whole path, not given the step before
    L   = sum_t BCE(joint label, y_t) + alpha mean(max(y_t - y_parent, 0))

The last term is the behavioural expectation calibrator: a later step cannot be likelier than the one before it.
Here it compares a task with its ``given`` alone, where that holds by definition; on the paper's chains both are
the same. Tasks that are not binary pass information on, and keep their own loss. Served heads are conditional,
``y_t / y_parent`` in logits, and joint. W1 … W3 have no bias; W1 and W2 start near 0, so that both sources count
alike at first. Each transfer has its own W; the authors' code uses one set for all.

Shapes: q, p, z ``[N, H]``; S = 2 sources. Parameters: ``T`` MLPs and towers, ``T - 1`` times ``H (H + 1) + 3 H²``.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.inputs import TensorInputs
from training.losses import RowLoss, own_row_loss
from training.models.base import ModelConfig, MultiTaskModel
from training.models.entire_space import conditional_logit, funnels, joint_label, with_joint_heads
from training.models.layers import Experts, Mlp
from training.models.registry import register

__all__ = ["Aitm", "AitmOptions", "InformationTransfer"]


class AitmOptions(Frozen):
    """What AITM has of its own.

    Args:
        calibrator: alpha, the weight of the behavioural expectation calibrator.
        detach_upstream: Keeps a task's loss from reaching the tasks before it; False is the paper.
    """

    calibrator: float = Field(default=0.6, ge=0)
    detach_upstream: bool = False


class InformationTransfer(nn.Module):
    """The AIT module: attention over what came from upstream and the task's own features, ``[N, H]`` each."""

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.pass_on = Mlp(dim, (dim,), dropout)
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.01)
        self.scale = 1.0 / math.sqrt(dim)

    def forward(self, upstream_NH: Tensor, own_NH: Tensor) -> Tensor:
        """Give z_t, ``[N, H]``."""
        x_NSH = torch.stack([self.pass_on(upstream_NH), own_NH], dim=1)
        score_NS = (self.query(x_NSH) * self.key(x_NSH)).sum(dim=-1) * self.scale
        weight_NS = torch.softmax(score_NS, dim=1)
        z_NH: Tensor = (weight_NS.unsqueeze(-1) * self.value(x_NSH)).sum(dim=1)
        return z_NH


@register("aitm", title="AITM (Xi et al., KDD 2021)", link="https://doi.org/10.1145/3447548.3467071")
class Aitm(MultiTaskModel):
    """Adaptive information transfer multi-task."""

    Options = AitmOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = AitmOptions(**config.options)
        self.funnels = funnels(self.task_specs)
        self.bottoms = Experts(self.features, len(self.tasks), config.hidden, config.dropout)
        width = config.hidden[-1]
        self.transfers = nn.ModuleList(InformationTransfer(width, config.dropout) for _ in self.tasks[1:])
        self.towers = self.make_towers(width)

    @classmethod
    def adapt_tasks(cls, tasks: Sequence[Task], _config: ModelConfig) -> tuple[Task, ...]:
        """Add the head of each joint probability."""
        return with_joint_heads(tasks)

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``; of later stages the joint logit."""
        u_RU, c_NC = self.features(inputs)
        q_NTH = self.bottoms(u_RU, c_NC, inputs.request_index)
        z_NH = q_NTH[:, 0]
        raw = {self.tasks[0]: self.towers[self.tasks[0]](z_NH)}
        for position, (task, transfer) in enumerate(zip(self.tasks[1:], self.transfers, strict=True), start=1):
            upstream_NH = z_NH.detach() if self.options.detach_upstream else z_NH
            z_NH = transfer(upstream_NH, q_NTH[:, position])
            raw[task] = self.towers[task](z_NH)
        return raw

    def served(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn joint logits to conditional ones; a stage that passes its parent is clamped to it first."""
        bounded = {name: self._bounded(name, raw) for name in self.funnels}
        parents = {name: bounded.get(chain[0], raw[chain[0]]) for name, chain in self.funnels.items()}
        return raw | {
            name: conditional_logit(joint[:, 0], parents[name][:, 0]).unsqueeze(-1) for name, joint in bounded.items()
        }

    def _bounded(self, name: str, raw: Mapping[str, Tensor]) -> Tensor:
        logits = [raw[stage] for stage in (name, *self.funnels[name])]
        return torch.stack(logits).amin(dim=0)

    def row_losses(
        self, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor], inputs: TensorInputs
    ) -> dict[str, RowLoss]:
        """Give the cross-entropy of each joint label over all rows; other tasks keep their own."""
        end_to_end = {name: joint_label((name, *chain), labels) for name, chain in self.funnels.items()}
        joint_labels = {**labels, **end_to_end}
        return {name: own_row_loss(task, raw[name], joint_labels, inputs) for name, task in self.task_specs.items()}

    def penalty(self, raw: Mapping[str, Tensor]) -> Tensor | None:
        """Give the behavioural expectation calibrator, a scalar; None without a funnel."""
        p = {name: torch.sigmoid(raw[name]) for name in (*self.funnels, *(c[0] for c in self.funnels.values()))}
        excess = [torch.relu(p[name] - p[chain[0]]).mean() for name, chain in self.funnels.items()]
        return self.options.calibrator * torch.stack(excess).sum() if excess else None
