"""Partitioned normalisation: batch norm whose statistics and affine map belong to a partition of the rows.

X. Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction",
CIKM 2021. https://arxiv.org/abs/2101.11427

Equations, for a row of partition p::

    z = (gamma · gamma_p) (x - E_p) / sqrt(Var_p + eps) + (beta + beta_p)

E_p and Var_p are the batch's in training and moving ones in serving. As all of it is one multiplication and one
addition a column, the layer gives these two, and the linear layer behind it takes them into its weights: nothing is
left to do for each candidate.

The paper's batches hold one domain each; ours are mixed. So a partition that has no rows in a batch keeps its moving
statistics as they are (plain code divides by zero there), one that has few is normalised by its moving statistics,
and one that never had any by those of all partitions together.
"""

import torch
from torch import Tensor, nn

__all__ = ["FEWEST_ROWS", "PartitionedNorm"]

EPSILON = 1e-5
DECAY = 0.99
"""What is kept of the moving counts at each batch."""
FEWEST_ROWS = 8
"""A partition with fewer rows in a batch is normalised by its moving statistics."""


class PartitionedNorm(nn.Module):
    """Gives ``scale`` and ``shift`` of every partition and column, so that ``z = x · scale_p + shift_p``.

    With one partition it is batch norm. gamma_p is kept as its difference from 1, so that weight decay draws a
    partition towards what all share and not towards 0.

    Args:
        partitions: P.
        width: V, columns of x.
    """

    count_P: Tensor
    mean_VP: Tensor
    var_VP: Tensor

    def __init__(self, partitions: int, width: int) -> None:
        super().__init__()
        self.gamma_V = nn.Parameter(torch.ones(width))
        self.beta_V = nn.Parameter(torch.zeros(width))
        has_own = partitions > 1
        self.own_gamma_PV = nn.Parameter(torch.zeros(partitions, width)) if has_own else None
        self.own_beta_PV = nn.Parameter(torch.zeros(partitions, width)) if has_own else None
        self.register_buffer("count_P", torch.zeros(partitions))
        self.register_buffer("mean_VP", torch.zeros(width, partitions))
        self.register_buffer("var_VP", torch.ones(width, partitions))

    def forward(self, x_XV: Tensor, weight_XP: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give scale and shift, ``[P, V]`` each.

        Args:
            x_XV: The rows; read in training only.
            weight_XP: How many rows of partition p each row stands for; None in serving.
        """
        mean_VP, var_VP = self.moving() if weight_XP is None else self._seen(x_XV, weight_XP)
        gamma_PV, beta_PV = self._affine()
        scale_PV = gamma_PV * torch.rsqrt(var_VP + EPSILON).T
        return scale_PV, beta_PV - mean_VP.T * scale_PV

    def moving(self) -> tuple[Tensor, Tensor]:
        """Give the moving mean and variance of every partition, ``[V, P]``; those of all rows where it had none."""
        total, is_known_P = self.count_P.sum(), self.count_P > 0
        share_P = self.count_P / torch.clamp(total, min=1e-12)
        mean_VO = (share_P * self.mean_VP).sum(dim=1, keepdim=True)
        var_VO = (share_P * (self.var_VP + (self.mean_VP - mean_VO).square())).sum(dim=1, keepdim=True)
        var_VO = torch.where(total > 0, var_VO, torch.ones_like(var_VO))
        return torch.where(is_known_P, self.mean_VP, mean_VO), torch.where(is_known_P, self.var_VP, var_VO)

    def _affine(self) -> tuple[Tensor, Tensor]:
        if self.own_gamma_PV is None or self.own_beta_PV is None:
            return self.gamma_V, self.beta_V
        return self.gamma_V * (1.0 + self.own_gamma_PV), self.beta_V + self.own_beta_PV

    def _seen(self, x_XV: Tensor, weight_XP: Tensor) -> tuple[Tensor, Tensor]:
        """Take a training batch in; give what it is normalised by, with gradients through its own statistics."""
        count_P = weight_XP.sum(dim=0)
        share_XP = weight_XP / torch.clamp(count_P, min=1.0)
        mean_VP = x_XV.T @ share_XP
        var_VP = torch.clamp(x_XV.T.square() @ share_XP - mean_VP.square(), min=0.0)
        self._remember(count_P, mean_VP.detach(), var_VP.detach())
        is_enough_P = (weight_XP > 0).sum(dim=0) >= FEWEST_ROWS
        kept_mean_VP, kept_var_VP = self.moving()
        return torch.where(is_enough_P, mean_VP, kept_mean_VP), torch.where(is_enough_P, var_VP, kept_var_VP)

    @torch.no_grad()
    def _remember(self, count_P: Tensor, mean_VP: Tensor, var_VP: Tensor) -> None:
        """Merge a batch into the moving statistics, each partition by its rows: no rows, no change."""
        # In place: an average of the weights holds on to these very tensors.
        self.count_P.mul_(torch.where(count_P > 0, DECAY, 1.0)).add_(count_P)
        share_P = count_P / torch.clamp(self.count_P, min=1e-12)
        step_VP = mean_VP - self.mean_VP
        self.mean_VP.add_(share_P * step_VP)
        self.var_VP.mul_(1 - share_P).add_(share_P * (var_VP + (1 - share_P) * step_VP.square()))
