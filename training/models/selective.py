"""The network that :mod:`training.models.info_select` and :mod:`training.models.cea` mask: three levels, one place.

Equations, every mask m being 1 where its level is off::

    x_k = m_k^field ∘ [u; c]                    whole fields
    h_k = 1/E sum_e m_k,e^expert f_e(x_k)       f_e MLPs that all tasks share
    y_k = m_k^hidden ∘ h_k                      hidden units
    z_k = t_k(y_k)

With all masks at 1 it is a shared-bottom, the mean of E of them where experts are chosen from. Without the expert
level there is one expert, since nothing tells several apart.

With the field level every task has inputs of its own, and the experts see T times as many rows: each request stands
once for each task, masked once a request, and each candidate too. The factored layers need not know.

Shapes: experts ``[N, T, E, H]``, T being 1 there while all tasks read the same; h and y ``[N, T, H]``.
"""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor

from contract.features import FeatureSchema
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.fields import FieldLayout
from training.models.layers import Experts

__all__ = ["Level", "SelectiveNetwork"]

Level = Literal["field", "expert", "hidden"]


class SelectiveNetwork(MultiTaskModel):
    """Experts and towers with places for three masks a task.

    Args:
        levels: Which masks there are.
    """

    def __init__(
        self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig, levels: Collection[Level]
    ) -> None:
        super().__init__(schema, tasks, config)
        self.levels = frozenset(levels)
        self.request_fields = FieldLayout(self.features.embedding.spans("request"))
        self.candidate_fields = FieldLayout(self.features.embedding.spans("candidate"))
        count = config.num_experts if "expert" in self.levels else 1
        self.experts = Experts(self.features, count, config.hidden, config.dropout)
        self.towers = self.make_towers(config.hidden[-1])

    @abstractmethod
    def field_masks(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> tuple[Tensor, Tensor]:
        """Give what each task takes of each field, ``[R, T, F]`` and ``[N, T, F]``; R and N may be 1."""

    @abstractmethod
    def expert_masks(self, experts_NTEH: Tensor) -> Tensor:
        """Give what each task takes of each expert, ``[N, T, E]``; N may be 1."""

    @abstractmethod
    def hidden_masks(self, h_NTH: Tensor) -> Tensor:
        """Give what each task takes of each hidden unit, ``[N, T, H]``; N may be 1."""

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        h_NTH = self._mixed(self._experts(u_RU, c_NC, inputs.request_index))
        if "hidden" in self.levels:
            h_NTH = h_NTH * self.hidden_masks(h_NTH)
        last = h_NTH.shape[1] - 1  # all tasks read the same as long as nothing was masked
        return {task: self.towers[task](h_NTH[:, min(position, last)]) for position, task in enumerate(self.tasks)}

    def _experts(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give what every expert makes of every task's inputs, ``[N, T, E, H]``, or ``[N, 1, E, H]``."""
        if "field" not in self.levels:
            return torch.as_tensor(self.experts(u_RU, c_NC, request_index)).unsqueeze(1)
        tasks = len(self.tasks)
        masks_RTF, masks_NTF = self.field_masks(u_RU, c_NC, request_index)
        u_RTU = u_RU.unsqueeze(1) * self.request_fields.expand(masks_RTF)
        c_NTC = c_NC.unsqueeze(1) * self.candidate_fields.expand(masks_NTF)
        index_NT = request_index.unsqueeze(1) * tasks + torch.arange(tasks, device=request_index.device)
        out_XEH: Tensor = self.experts(u_RTU.flatten(0, 1), c_NTC.flatten(0, 1), index_NT.flatten())
        return out_XEH.reshape(-1, tasks, *out_XEH.shape[1:])

    def _mixed(self, experts_NTEH: Tensor) -> Tensor:
        """Give each task's mean of the experts, weighted by its mask, ``[N, T, H]``."""
        if "expert" not in self.levels:
            return experts_NTEH[:, :, 0]
        weights_NTE = self.expert_masks(experts_NTEH) / experts_NTEH.shape[2]
        if experts_NTEH.shape[1] == 1:
            return torch.matmul(weights_NTE, experts_NTEH[:, 0])
        return torch.matmul(weights_NTE.unsqueeze(2), experts_NTEH)[:, :, 0]
