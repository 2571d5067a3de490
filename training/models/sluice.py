"""Sluice network: learned sharing of layers, of halves of layers, and of depths.

S. Ruder, J. Bingel, I. Augenstein & A. Søgaard, "Latent Multi-task Architecture Learning", AAAI 2019.
https://arxiv.org/abs/1705.08142

Equations, for every hidden layer l, each task's units being two subspaces s of equal width::

    g_ks = relu(G_lks^T x_k + b_lks)                 the first layer reads [u; c], the same for every task
    y_ks = sum_{j, r} A_l[ks, jr] g_jr               A_l [2T, 2T], a cross-stitch of subspaces
    x_k  = [y_k1; y_k2]                              input of the next layer
    h_k  = sum_l beta_k[l] P_lk x_k^(l)              the mixture of depths that the tower reads
    z_k  = t_k(h_k)
    L    = sum_k L_k + c * sum_{l, k} |G_lk1^T G_lk2|_F^2

The columns of G are the input weights of its units, so the penalty makes every unit of one subspace orthogonal to
every unit of the other. A and beta are the same for every candidate. The paper's layers are equally wide; where ours
are not, P is an affine map to the width of the last, else the identity. An odd width is rounded up.

Starts: A at 0.9 for a subspace's own and 0.1 shared by the rest, beta at 1 / L, the reference implementation's
schemes. Its default c is 0, which leaves the penalty out; ours is above 0.

Shapes: g and y ``[2T, N, H / 2]``, x and h ``[T, N, H]``, z_k ``[N, W_k]``. Parameters: T bottoms, T towers,
``4 T * T`` a layer, ``T * L`` for beta, ``T (H_l + 1) H_L`` for every layer of another width than the last.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel, ParameterGroup
from training.models.cross_stitch import Stitch
from training.models.layers import StackedLinear
from training.models.registry import register

__all__ = ["Sluice", "SluiceOptions"]


class SluiceOptions(Frozen):
    """Options of sluice networks.

    Args:
        constraint_weight: c, of the penalty that keeps the two subspaces apart; 0 leaves it out. Our default.
        learning_rate_factor: Of A and beta; see :class:`training.models.cross_stitch.CrossStitchOptions`.
        noise: Standard deviation of Gaussian noise on u and c in training, as in the reference implementation.
    """

    constraint_weight: float = Field(default=1e-2, ge=0)
    learning_rate_factor: float = Field(default=10.0, gt=0)
    noise: float = Field(default=0.1, ge=0)


@register("sluice", title="Sluice network (Ruder et al., AAAI 2019)", link="https://arxiv.org/abs/1705.08142")
class Sluice(MultiTaskModel):
    """Two subspaces a task and layer, mixed across tasks; depths mixed before each tower."""

    Options = SluiceOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = SluiceOptions(**config.options)
        count, self.widths = len(self.tasks), [width + width % 2 for width in config.hidden]
        self.first = self.features.first_layer(count * self.widths[0])
        self.deeper = nn.ModuleList(StackedLinear(count, a, b) for a, b in pairwise(self.widths))
        self.stitches = nn.ModuleList(Stitch(2 * count) for _ in self.widths)
        last = self.widths[-1]
        self.projections = nn.ModuleList(
            nn.Identity() if width == last else StackedLinear(count, width, last) for width in self.widths
        )
        self.beta_TL = nn.Parameter(torch.full((count, len(self.widths)), 1.0 / len(self.widths)))
        self.dropout = nn.Dropout(config.dropout)
        self.towers = self.make_towers(self.widths[-1])

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = (self._noisy(side) for side in self.features(inputs))
        g_NX = self.first(u_RU, c_NC, inputs.request_index)
        depths = [self._stitched(0, g_NX.reshape(-1, len(self.tasks), self.widths[0]).transpose(0, 1))]
        for level, layer in enumerate(self.deeper, start=1):
            depths.append(self._stitched(level, layer(depths[-1])))
        h_TNH = self._mixed(depths)
        return {task: self.towers[task](h_NH) for task, h_NH in zip(self.tasks, h_TNH.unbind(0), strict=True)}

    def penalty(self, _raw: Mapping[str, Tensor]) -> Tensor | None:
        """Give the orthogonality penalty; None where it is switched off."""
        if self.options.constraint_weight == 0.0:
            return None
        overlaps = [subspaces_overlap(g_TIH) for g_TIH in self.layer_weights()]
        return self.options.constraint_weight * torch.stack(overlaps).sum()

    def layer_weights(self) -> list[Tensor]:
        """Give G of every hidden layer, ``[T, I, H]``; the first layer's rows are those of u, then those of c."""
        sides = [side.weight for side in (self.first.request, self.first.candidate) if side is not None]
        first_TIH = torch.cat(sides, dim=1).reshape(len(self.tasks), self.widths[0], -1).transpose(1, 2)
        return [first_TIH, *(layer.weight_EIO for layer in self.deeper)]  # type: ignore[list-item]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Step A and beta faster and never decay them."""
        weights = [*self.stitches.parameters(), self.beta_TL]
        factor = self.options.learning_rate_factor
        return [ParameterGroup(parameters=weights, learning_rate_factor=factor, has_decay=False)]

    def _noisy(self, side_XD: Tensor) -> Tensor:
        if not self.training or self.options.noise == 0.0:
            return side_XD
        return side_XD + self.options.noise * torch.randn_like(side_XD)

    def _stitched(self, level: int, g_TNH: Tensor) -> Tensor:
        count, half = len(self.tasks), self.widths[level] // 2
        active_TNH = self.dropout(torch.relu(g_TNH))
        split_XNH = active_TNH.reshape(count, -1, 2, half).transpose(1, 2).reshape(2 * count, -1, half)
        mixed_T2NH: Tensor = self.stitches[level](split_XNH).reshape(count, 2, -1, half)
        return mixed_T2NH.transpose(1, 2).reshape(count, -1, 2 * half)

    def _mixed(self, depths: Sequence[Tensor]) -> Tensor:
        """Mix the layers of each task by beta, ``[T, N, H]``."""
        alike = [project(x_TNH) for project, x_TNH in zip(self.projections, depths, strict=True)]
        return (torch.stack(alike, dim=-1) * self.beta_TL[:, None, None, :]).sum(dim=-1)


def subspaces_overlap(g_TIH: Tensor) -> Tensor:
    """Give ``sum_k |G_k1^T G_k2|_F^2`` of one layer, the halves of H being the subspaces."""
    one_TIH, two_TIH = g_TIH.chunk(2, dim=2)
    return torch.matmul(one_TIH.transpose(1, 2), two_TIH).square().sum()
