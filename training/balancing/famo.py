"""FAMO: weights that let all losses fall at the same relative rate, learnt from the losses alone.

B. Liu, Y. Feng, P. Stone & Q. Liu, "FAMO: fast adaptive multitask optimization", NeurIPS 2023.
https://openreview.net/forum?id=zMeemcUeXL

Equations, with lower bounds b_k::

    z = softmax(xi)
    f_k = T (z_k / D_k) / sum_j (z_j / D_j),     D_k = L_k - b_k
    after the step:  xi <- Adam(xi, J^T (log D(before) - log D(after)))      J = dz/dxi, with weight decay gamma

The step follows ``sum_k z_k log D_k``; the paper scales it so that the weights sum to 1, here they sum to T. A task
whose log-loss fell most in the step loses weight. It costs a second forward pass a batch, as the paper's algorithm
has it, and no gradient of a single task. Tasks without a label in the batch take no part: a loss of 0 would have all
the weight.
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.loss_weights import LossBalancer, above_bounds, step_where

__all__ = ["Famo", "FamoOptions"]

_EPSILON = 1e-8


class FamoOptions(Frozen):
    """Options.

    Args:
        learning_rate: Of the logits xi.
        weight_decay: Of the logits; 1e-3 in the paper's practical algorithm, its released code varies.
        lower_bounds: By task, what its loss cannot fall below, where that is not 0 (a log-likelihood).
    """

    learning_rate: float = Field(default=0.025, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    lower_bounds: dict[str, float] = Field(default_factory=dict)


@register_balancer("famo")
class Famo(LossBalancer):
    """Keeps one logit a task, stepped by an Adam of its own."""

    Options = FamoOptions

    def __init__(self, parts: BalancerParts, options: FamoOptions) -> None:
        super().__init__(parts, options)
        self.lower_bounds = options.lower_bounds
        self.logits_T = torch.zeros(len(parts.tasks), requires_grad=True)
        self._adam = torch.optim.Adam([self.logits_T], lr=options.learning_rate, weight_decay=options.weight_decay)
        self._before_T = torch.zeros(len(parts.tasks))

    def factors(self, losses_T: Tensor) -> Tensor:
        """Give the step's factors and keep the losses before it."""
        above_T = above_bounds(losses_T, self.lower_bounds, self.parts.tasks)
        self._before_T = above_T
        shares_T = torch.softmax(self.logits_T.detach(), dim=0) / (above_T + _EPSILON)
        shares_T = torch.where(above_T > 0, shares_T, 0.0)
        factors_T = (above_T > 0).sum() * shares_T / torch.clamp(shares_T.sum(), min=1e-30)
        return torch.where(above_T > 0, factors_T, torch.ones_like(factors_T))

    def after_step(self, losses_again: Callable[[], Tensor]) -> None:
        """Move the logits by what the step did to the log-losses."""
        with torch.no_grad():
            after_T = above_bounds(losses_again(), self.lower_bounds, self.parts.tasks)
        counts_T = self._before_T > 0
        if not counts_T.any():
            return
        gain_T = torch.log(self._before_T + _EPSILON) - torch.log(after_T + _EPSILON)
        z_T = torch.softmax(torch.where(counts_T, self.logits_T.detach(), -torch.inf), dim=0)
        self.logits_T.grad = z_T * (gain_T - (z_T * gain_T).sum())
        step_where(counts_T, self._adam, self.logits_T)
