"""CEA, channel-expert attention: each task weighs fields, experts and hidden units by what the row holds.

The list of methods that asked for ``cea`` never says what it stands for, and no recommender or multi-task method of
that name is published. This is our reading: squeeze-and-excitation (J. Hu et al., CVPR 2018,
https://arxiv.org/abs/1709.01507; over fields as in FiBiNET, T. Huang et al., RecSys 2019,
https://arxiv.org/abs/1905.09433) for each task and over three kinds of channels.

Equations, for K channels x_c of any width and task k::

    s   = [mean over the dimensions of x_c]     K numbers a row
    a_k = 2 sigmoid(W2 relu(W1 s + e_k) + b2)   e_k the task's embedding; W2 and b2 start at 0, so a_k starts at 1
    x_c = a_k,c x_c

W1 gives ``max(K / r, 4)`` units. e_k enters as so many numbers, which is W1's share for the embedding multiplied out.
The network between the three places is that of :mod:`training.models.selective`; the masks of fields, experts and
units stand where it says. A hidden unit is its own mean.

The attention over request fields reads request fields alone, so it and all that follows stays once a request; the
one over candidate fields reads both sides, its first layer factored. Reading the candidate for request fields too
would make a request vector for each candidate.

Parameters of one attention that reads I and weighs K channels with M units: ``(I + 1) M + T M + (M + 1) K``.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.models.base import ModelConfig
from training.models.layers import FactoredLinear
from training.models.registry import register
from training.models.selective import Level, SelectiveNetwork

__all__ = ["Cea", "CeaOptions", "ChannelAttention"]

FEWEST_UNITS = 4


class CeaOptions(Frozen):
    """Options of channel-expert attention.

    Args:
        fields: Weigh fields; the experts then see every row once a task.
        experts: Weigh experts; without it there is one.
        units: Weigh the hidden units that each task's tower reads.
        reduction: r, channels to one unit of the attention's hidden layer.
    """

    fields: bool = True
    experts: bool = True
    units: bool = True
    reduction: int = Field(default=4, ge=1)


class ChannelAttention(nn.Module):
    """Weights of K channels for each task.

    Args:
        first: W1, giving M units from the squeezed channels, ``[N, M]`` or ``[N, T, M]``.
        tasks: T.
        units: M.
        channels: K.
    """

    def __init__(self, first: nn.Module, tasks: int, units: int, channels: int) -> None:
        super().__init__()
        self.first, self.second = first, nn.Linear(units, channels)
        self.task_TM = nn.Parameter(torch.empty(tasks, units).normal_(std=1.0 / units**0.5))
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, *squeezed: Tensor) -> Tensor:
        """Give ``[N, T, K]``, between 0 and 2."""
        units = self.first(*squeezed)
        units_NTM = units if units.dim() == 3 else units.unsqueeze(1)
        return 2.0 * torch.sigmoid(self.second(torch.relu(units_NTM + self.task_TM)))


@register("cea", title="Channel-expert attention (our reading; the name is undefined)", link="")
class Cea(SelectiveNetwork):
    """Squeeze-and-excitation for each task over fields, experts and hidden units."""

    Options = CeaOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        options = CeaOptions(**config.options)
        chosen: dict[Level, bool] = {"field": options.fields, "expert": options.experts, "hidden": options.units}
        super().__init__(schema, tasks, config, [level for level, is_on in chosen.items() if is_on])
        self.options = options
        request, candidate = len(self.request_fields.names), len(self.candidate_fields.names)
        experts, width = self.experts.count, config.hidden[-1]
        self.attentions = nn.ModuleDict()
        if options.fields and request:
            self.attentions["request"] = self._attention(request, partial(nn.Linear, request))
        if options.fields and candidate:
            self.attentions["candidate"] = self._attention(candidate, partial(FactoredLinear, request, candidate))
        if options.experts:
            self.attentions["expert"] = self._attention(experts, partial(nn.Linear, experts))
        if options.units:
            self.attentions["hidden"] = self._attention(width, partial(nn.Linear, width))

    def field_masks(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> tuple[Tensor, Tensor]:
        """Weigh request fields by the request alone, candidate fields by both sides."""
        squeezed_RF, squeezed_NF = self.request_fields.squeeze(u_RU), self.candidate_fields.squeeze(c_NC)
        masks_RTF = masks_NTF = u_RU.new_ones(1, len(self.tasks), 0)
        if "request" in self.attentions:
            masks_RTF = self.attentions["request"](squeezed_RF)
        if "candidate" in self.attentions:
            masks_NTF = self.attentions["candidate"](squeezed_RF, squeezed_NF, request_index)
        return masks_RTF, masks_NTF

    def expert_masks(self, experts_NTEH: Tensor) -> Tensor:
        """Weigh experts by the means of what they gave."""
        return torch.as_tensor(self.attentions["expert"](experts_NTEH.mean(dim=3)))

    def hidden_masks(self, h_NTH: Tensor) -> Tensor:
        """Weigh hidden units by themselves."""
        return torch.as_tensor(self.attentions["hidden"](h_NTH))

    def _attention(self, channels: int, first: Callable[[int], nn.Module]) -> ChannelAttention:
        units = max(channels // self.options.reduction, FEWEST_UNITS)
        return ChannelAttention(first(units), len(self.tasks), units, channels)
