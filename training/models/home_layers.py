"""The two mechanisms of HoME that other mixtures lack: normalised experts and feature gates.

Source and shapes: see :mod:`training.models.home`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FeatureGate", "SwishNorm", "self_gate"]


class SwishNorm(nn.Module):
    """``swish(batch_norm(h))`` for every expert and unit: experts of one scale, and none that is mostly zeros.

    Training normalises by the batch and serving by running means, so the exported graph is static. A batch of one
    row has no variance; it is normalised as in serving.
    """

    def __init__(self, experts: int, width: int) -> None:
        super().__init__()
        self.experts, self.width = experts, width
        self.norm = nn.BatchNorm1d(experts * width)

    def forward(self, h_ENH: Tensor) -> Tensor:
        """Give ``[E, N, H]``."""
        h_NX = h_ENH.transpose(0, 1).flatten(1)
        norm, by_batch = self.norm, self.training and len(h_NX) > 1
        normed_NX = F.batch_norm(
            h_NX, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=by_batch, eps=norm.eps
        )
        return F.silu(normed_NX).reshape(-1, self.experts, self.width).transpose(0, 1)


class FeatureGate(nn.Module):
    """``x · 2·sigmoid(B·down(v))``, G times side by side: what of x matters to a group of experts.

    Low rank, and 1 everywhere at the start, since B starts at 0.

    Args:
        down: Gives ``[G, rows, rank]`` from v.
        groups: G.
        rank: Width between.
        width: Of x.
    """

    def __init__(self, down: nn.Module, groups: int, rank: int, width: int) -> None:
        super().__init__()
        self.down = down
        self.up_GKW = nn.Parameter(torch.zeros(groups, rank, width))

    def forward(self, x_GXW: Tensor, *v: Tensor) -> Tensor:
        """Give ``[G, rows, width]``; x may be ``[1, rows, width]``, one for all groups."""
        return x_GXW * (2.0 * torch.sigmoid(torch.matmul(self.down(*v), self.up_GKW)))


def self_gate(logits_NGM: Tensor) -> Tensor:
    """Give the weights that a group adds to its own experts: softmax, or a sigmoid where it has one alone."""
    return torch.sigmoid(logits_NGM) if logits_NGM.shape[-1] == 1 else torch.softmax(logits_NGM, dim=-1)
