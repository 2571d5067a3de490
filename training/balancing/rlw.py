"""RLW, random loss weighting: new random weights every batch; the litmus test for all other methods.

B. Lin et al., "Reasonable effectiveness of random weighting: a litmus test for multi-task learning", TMLR 2022.
https://openreview.net/forum?id=jjtFD8A1Wx

Equations::

    f = T softmax(n),   n ~ N(0, I)

The paper's weights sum to 1; T times that keeps the learning rate's meaning. A method that does not beat this one
has shown nothing.
"""

import torch
from torch import Tensor

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.loss_weights import LossBalancer

__all__ = ["Rlw"]


@register_balancer("rlw")
class Rlw(LossBalancer):
    """Draws from its own generator: neither dropout nor shuffling sees a difference."""

    def __init__(self, parts: BalancerParts, options: Frozen) -> None:
        super().__init__(parts, options)
        self._random = torch.Generator().manual_seed(parts.seed)

    def factors(self, losses_T: Tensor) -> Tensor:
        """Draw this batch's factors."""
        return len(losses_T) * torch.softmax(torch.randn(len(losses_T), generator=self._random), dim=0)
