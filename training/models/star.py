"""STAR: a network for each domain, or each task, that is a shared one times a factor of its own.

X. Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction",
CIKM 2021. https://arxiv.org/abs/2101.11427

Equations, p a partition (a domain; a task where no domain field is named)::

    W_p* = W_p ∘ W,  b_p* = b_p + b                 of every layer; ∘ element by element
    x~   = PN_p([u; c])                             training.models.partitioned_norm
    z_k  = t_k,p(f_p(x~)) + a_k([u; c])             f and t star layers; a the auxiliary network, two layers

With ``domain`` the value of that request field chooses p, and all tasks are served in each domain. The auxiliary
network reads the domain among the features, unnormalised, and its output adds to the logit, so that a domain's level
has a short way. Without ``domain`` the tasks are the partitions, as many read the paper: all rows pass all of them.
Their inputs are the same, so there is nothing to partition in the normalisation, which is batch norm, and no indicator
for an auxiliary network. The last layer, as wide as a task's head reads, is then the task's own.

Partition 0 is that of a missing or unknown value, the others follow the vocabulary. All partitions are computed and
each candidate takes its own: weights gathered by candidate would be far larger than what they multiply, and a graph
with boolean indexing has no fixed shape. Hence the limit of 64 values.

Shapes: x ``[P, N, H]``, z_k ``[N, W_k]``. Parameters: ``(1 + P) (I O + O)`` a star layer; ``2 (1 + P) (U + C)`` of the
normalisation, 2 (U + C) for tasks; ``(U + C + 1) A + (A + 1) sum_k W_k`` of the auxiliary network.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.heads.registry import head_of
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.dropout import Dropout
from training.models.fields import domain_field
from training.models.registry import register
from training.models.star_layers import StarFirst, StarLinear, StarMlp

__all__ = ["MOST_VALUES", "Star", "StarOptions"]

MOST_VALUES = 64


class StarOptions(Frozen):
    """Options of STAR.

    Args:
        domain: Categorical request field whose value chooses the partition; None makes the tasks the partitions.
        normalise: Normalise the inputs: by partition with a domain, by batch norm without. None normalises with a
            domain alone: without one it puts vectors of rare ids on the scale of all others, and costs accuracy.
        auxiliary_hidden: Width A of the auxiliary network, which only a domain has; 0 for none.
    """

    domain: str | None = None
    normalise: bool | None = None
    auxiliary_hidden: int = Field(default=32, ge=0)


@register("star", title="STAR (Sheng et al., CIKM 2021)", link="https://arxiv.org/abs/2101.11427")
class Star(MultiTaskModel):
    """Star topology adaptive recommender, over tasks or over the domains of a request field."""

    Options = StarOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = StarOptions(**config.options)
        self.has_domain, self.partitions = self.options.domain is not None, len(self.tasks)
        if self.options.domain is not None:
            self.column, values = domain_field(schema, self.options.domain, most_values=MOST_VALUES)
            self.partitions = values + 1
        first, *rest = config.hidden if self.has_domain else (*config.hidden, *config.tower_hidden)
        chosen = self.options.normalise
        self.normalises = self.has_domain if chosen is None else chosen
        norms = (self.partitions if self.has_domain else 1) if self.normalises else 0
        self.first = StarFirst(self.features, self.partitions, first, norms)
        self.dropout = Dropout(config.dropout)
        self.rest = StarMlp(self.partitions, first, rest, config.dropout)
        self.towers = nn.ModuleDict({task: self._tower(task, (first, *rest)[-1]) for task in self.tasks})
        self.auxiliary = self._make_auxiliary() if self.has_domain and self.options.auxiliary_hidden else None

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        weights = self._row_weights(inputs, c_NC) if self.training and self.normalises else (None, None)
        x_PNH = self.rest(self.dropout(torch.relu(self.first(u_RU, c_NC, inputs.request_index, *weights))))
        if not self.has_domain:
            return {task: self.towers[task](x_PNH[position]) for position, task in enumerate(self.tasks)}
        partition_N = self.partition(inputs).index_select(0, inputs.request_index)
        own = {task: _chosen(self.towers[task](x_PNH), partition_N) for task in self.tasks}
        if self.auxiliary is None:
            return own
        extra_NW = self.auxiliary["out"](torch.relu(self.auxiliary["first"](u_RU, c_NC, inputs.request_index)))
        extras = extra_NW.split([raw_NW.shape[1] for raw_NW in own.values()], dim=1)
        return {task: raw_NW + extra for (task, raw_NW), extra in zip(own.items(), extras, strict=True)}

    def partition(self, inputs: TensorInputs) -> Tensor:
        """Give each request's partition, int64 ``[R]``: 0 for missing and unknown, then the vocabulary's order."""
        return torch.clamp(inputs.request_ids[:, self.column] - 1, min=0, max=self.partitions - 1)

    def task_modules(self) -> list[nn.Module]:
        """Give the towers, and where tasks are the partitions every layer's own factors: each slice is one task's."""
        if self.has_domain:
            return [self.towers]
        return [self.towers, *(module.own for module in self.modules() if isinstance(module, StarLinear))]

    def _tower(self, task: str, in_dim: int) -> nn.Module:
        width = head_of(self.task_specs[task]).raw_width
        if not self.has_domain:
            return nn.Linear(in_dim, width)
        hidden = (in_dim, *self.config.tower_hidden)
        body = StarMlp(self.partitions, in_dim, hidden[1:], self.config.dropout)
        return nn.Sequential(body, StarLinear(self.partitions, hidden[-1], width))

    def _make_auxiliary(self) -> nn.ModuleDict:
        hidden = self.options.auxiliary_hidden
        out = sum(head_of(task).raw_width for task in self.task_specs.values())
        return nn.ModuleDict({"first": self.features.first_layer(hidden), "out": nn.Linear(hidden, out)})

    def _row_weights(self, inputs: TensorInputs, c_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Give what rows weigh in the statistics: a request as many as its candidates, as in an ordinary data set."""
        index_N, ones_N = inputs.request_index, c_NC.new_ones(c_NC.shape[0])
        rows_R = c_NC.new_zeros(inputs.request_ids.shape[0]).index_add(0, index_N, ones_N)
        if not self.has_domain:
            return rows_R.unsqueeze(1), ones_N.unsqueeze(1)
        belongs_RP = F.one_hot(self.partition(inputs), self.partitions).to(c_NC.dtype)
        return belongs_RP * rows_R.unsqueeze(1), belongs_RP.index_select(0, index_N)


def _chosen(x_PNW: Tensor, partition_N: Tensor) -> Tensor:
    """Give each row's output of its own partition, ``[N, W]``."""
    width = x_PNW.shape[2]
    index_N1W = partition_N.reshape(-1, 1, 1).expand(-1, 1, width)
    return x_PNW.transpose(0, 1).gather(1, index_N1W)[:, 0]
