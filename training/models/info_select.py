"""Information selection: a mask a task over fields, experts and hidden units, the same for every row.

After K. Ding et al., "MSSM: A Multiple-level Sparse Sharing Model for Efficient Multi-Task Learning", SIGIR 2021.
https://doi.org/10.1145/3404835.3463022

The network is that of :mod:`training.models.selective`, the masks are those of :mod:`training.models.selection`. MSSM
masks fields and the cells between two levels of small networks; here the second choice is one of experts, which all
tasks share, and the third one of units. So each level can be had alone and read in the report::

    L = sum_k L_k + l0 · (expected count of open channels)      hard_concrete alone

Parameters: one expert, or E at the level of experts, T towers, and ``T F``, ``T E`` and ``T H`` of the masks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.models.base import ModelConfig, ParameterGroup
from training.models.registry import register
from training.models.selection import MaskKind, TaskInfoSelect
from training.models.selective import Level, SelectiveNetwork

__all__ = ["InfoSelect", "InfoSelectOptions"]

_LEVELS: dict[str, tuple[Level, ...]] = {
    "field": ("field",),
    "expert": ("expert",),
    "hidden": ("hidden",),
    "all": ("field", "expert", "hidden"),
}


class InfoSelectOptions(Frozen):
    """Options of information selection.

    Args:
        level: What is selected.
        kind: How: by competition, each channel for itself, or switched on and off.
        l0: Price of an open channel, for hard_concrete; 0 leaves all channels to the losses.
        learning_rate_factor: Of the masks, which have far to go from 1 to 0. Our choice.
    """

    level: Literal["field", "expert", "hidden", "all"] = "all"
    kind: MaskKind = "sigmoid2"
    l0: float = Field(default=1e-4, ge=0)
    learning_rate_factor: float = Field(default=10.0, gt=0)


@register(
    "info_select",
    title="Information selection (after MSSM, Ding et al., SIGIR 2021)",
    link="https://doi.org/10.1145/3404835.3463022",
)
class InfoSelect(SelectiveNetwork):
    """What each task takes of fields, experts and hidden units, as constants that can be read."""

    Options = InfoSelectOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        options = InfoSelectOptions(**config.options)
        super().__init__(schema, tasks, config, _LEVELS[options.level])
        self.options = options
        self.fields = (*self.request_fields.names, *self.candidate_fields.names)
        channels = {"field": len(self.fields), "expert": self.experts.count, "hidden": config.hidden[-1]}
        self.selects = nn.ModuleDict(
            {level: TaskInfoSelect(len(self.tasks), channels[level], options.kind) for level in sorted(self.levels)}
        )

    def field_masks(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> tuple[Tensor, Tensor]:
        """Give each task's fields of both sides, which compete with each other where they compete at all."""
        masks_OTF: Tensor = self.selects["field"]().unsqueeze(0)
        count = len(self.request_fields.names)
        return masks_OTF[:, :, :count], masks_OTF[:, :, count:]

    def expert_masks(self, experts_NTEH: Tensor) -> Tensor:
        """Give each task's experts."""
        return torch.as_tensor(self.selects["expert"]()).unsqueeze(0)

    def hidden_masks(self, h_NTH: Tensor) -> Tensor:
        """Give each task's hidden units."""
        return torch.as_tensor(self.selects["hidden"]()).unsqueeze(0)

    def penalty(self, _raw: Mapping[str, Tensor]) -> Tensor | None:
        """Give the price of the channels that are open; None where none can be closed."""
        counts = [select.expected_open() for select in self._all() if select.kind == "hard_concrete"]
        return self.options.l0 * torch.stack(counts).sum() if counts and self.options.l0 > 0 else None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Step the masks faster; never decay a switch, as log a = 0 is a switch half open."""
        factor, weights = self.options.learning_rate_factor, list(self.selects.parameters())
        has_decay = self.options.kind != "hard_concrete"
        return [ParameterGroup(parameters=weights, learning_rate_factor=factor, has_decay=has_decay)]

    def task_modules(self) -> list[nn.Module]:
        """Give towers and masks: each row of a mask is one task's."""
        return [self.towers, self.selects]

    @torch.no_grad()
    def masks(self) -> dict[str, Tensor]:
        """Give the masks as they are served, by level, ``[T, K]`` each, for the report."""
        self.selects.eval()
        masks = {level: select() for level, select in self.selects.items()}
        self.selects.train(self.training)
        return masks

    def selected_fields(self) -> dict[str, dict[str, float]]:
        """Give what each task takes of each field, by task and field; empty without the field level."""
        if "field" not in self.levels:
            return {}
        rows = self.masks()["field"].tolist()
        return {task: dict(zip(self.fields, row, strict=True)) for task, row in zip(self.tasks, rows, strict=True)}

    def selection(self) -> dict[str, Any]:
        """Give all masks for the report, by level and task; fields by name, experts and units in their order."""
        by_task = {level: dict(zip(self.tasks, mask.tolist(), strict=True)) for level, mask in self.masks().items()}
        return by_task | ({"field": self.selected_fields()} if "field" in self.levels else {})

    def _all(self) -> list[TaskInfoSelect]:
        return [module for module in self.modules() if isinstance(module, TaskInfoSelect)]
