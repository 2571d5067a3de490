"""Fixed weights: the sum that every other balancer has to beat.

Field evidence (LibMTL#39 and others) is that tuned fixed weights often win; they always stand in our comparisons.

Equations::

    L = sum_k w_k L_k        w_k from the run's task weights, 1 where not given
"""

import torch
from torch import Tensor

from training.balancing.base import register_balancer
from training.balancing.loss_weights import LossBalancer

__all__ = ["Static"]


@register_balancer("static")
class Static(LossBalancer):
    """Factors of 1."""

    def factors(self, losses_T: Tensor) -> Tensor:
        """Give 1 for every task."""
        return torch.ones_like(losses_T)
