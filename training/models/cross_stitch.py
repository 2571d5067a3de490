"""Cross-stitch: one network a task, whose layers are mixed by learned weights.

I. Misra, A. Shrivastava, A. Gupta & M. Hebert, "Cross-stitch Networks for Multi-task Learning", CVPR 2016.
https://arxiv.org/abs/1604.03539

Equations, for every hidden layer l::

    h_k = relu(W_lk x_k + b_lk)                  the first layer reads [u; c], the same for every task
    x_k = sum_j A_l[k, j] h_j                    input of the next layer, or of the tower
    z_k = t_k(x_k)

A starts at 0.9 on the diagonal and 0.1 shared by the rest, so each row is a mean. It is the same for every candidate.
The paper has one A for all channels of a layer and, as the finer form, one A a channel. It steps A faster than the
rest and holds it by no decay: a mixing weight of 0 is no simpler than one of 1.

Shapes: h and x ``[T, N, H]``, A ``[T, T]`` or ``[H, T, T]``, z_k ``[N, W_k]``. The first layers of all T networks
are one factored product. Parameters: T bottoms, T towers, ``T * T`` (times H by channel) a layer.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel, ParameterGroup
from training.models.layers import StackedLinear
from training.models.registry import register

__all__ = ["CrossStitch", "CrossStitchOptions", "Stitch", "mostly_own"]


class CrossStitchOptions(Frozen):
    """Options of cross-stitch networks.

    Args:
        per_channel: One A for every hidden unit instead of one for the whole layer.
        learning_rate_factor: Of A. The paper steps it 10 to 1000 times faster under plain gradient descent; Adam's
            steps do not shrink with the gradient, so we start at the lower end.
    """

    per_channel: bool = False
    learning_rate_factor: float = Field(default=10.0, gt=0)


def mostly_own(count: int, own: float = 0.9) -> Tensor:
    """Give ``[count, count]`` rows that sum to 1: *own* on the diagonal, the rest shared evenly."""
    if count == 1:
        return torch.ones(1, 1)
    others = (1.0 - own) / (count - 1)
    return torch.full((count, count), others).fill_diagonal_(own)


class Stitch(nn.Module):
    """Mixes T networks, ``[T, N, H] → [T, N, H]``.

    Args:
        count: Networks T.
        width: Hidden units H, where each has an A of its own; None gives one for all.
    """

    def __init__(self, count: int, width: int | None = None) -> None:
        super().__init__()
        start_TT = mostly_own(count)
        self.weight = nn.Parameter(start_TT if width is None else start_TT.repeat(width, 1, 1))

    def forward(self, h_TNH: Tensor) -> Tensor:
        """Give each network its mixture."""
        if self.weight.dim() == 3:  # one matrix a channel
            return torch.matmul(self.weight, h_TNH.permute(2, 0, 1)).permute(1, 2, 0)
        count, _, width = h_TNH.shape
        return torch.matmul(self.weight, h_TNH.reshape(count, -1)).reshape(count, -1, width)


@register("cross_stitch", title="Cross-stitch (Misra et al., CVPR 2016)", link="https://arxiv.org/abs/1604.03539")
class CrossStitch(MultiTaskModel):
    """Networks side by side, stitched after every hidden layer."""

    Options = CrossStitchOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = CrossStitchOptions(**config.options)
        count, widths = len(self.tasks), config.hidden
        self.first = self.features.first_layer(count * widths[0])
        self.deeper = nn.ModuleList(StackedLinear(count, a, b) for a, b in pairwise(widths))
        self.stitches = nn.ModuleList(Stitch(count, w if self.options.per_channel else None) for w in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.towers = self.make_towers(widths[-1])

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        h_NX = self.first(u_RU, c_NC, inputs.request_index)
        h_TNH = h_NX.reshape(-1, len(self.tasks), self.config.hidden[0]).transpose(0, 1)
        x_TNH = self.stitches[0](self.dropout(torch.relu(h_TNH)))
        for layer, stitch in zip(self.deeper, self.stitches[1:], strict=True):
            x_TNH = stitch(self.dropout(torch.relu(layer(x_TNH))))
        return {task: self.towers[task](x_NH) for task, x_NH in zip(self.tasks, x_TNH.unbind(0), strict=True)}

    def parameter_groups(self) -> list[ParameterGroup]:
        """Step the stitches faster and never decay them."""
        weights = list(self.stitches.parameters())
        factor = self.options.learning_rate_factor
        return [ParameterGroup(parameters=weights, learning_rate_factor=factor, has_decay=False)]
