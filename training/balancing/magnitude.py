"""Magnitude matching: each loss divided by its own running mean, so that all pull with the same order of magnitude.

Practice rather than a paper; the simplest cure for a squared error in log-seconds beside a cross-entropy of 0.05.

Equations::

    E_k = running mean of |L_k|      over the batches that have its label, started without bias
    f_k = c / E_k                    no gradient flows through E_k
    c   = T / sum_k (1 / E_k)        the harmonic mean, so that the factors sum to T
"""

import torch
from pydantic import Field
from torch import Tensor

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.loss_weights import LossBalancer

__all__ = ["Magnitude", "MagnitudeOptions"]


class MagnitudeOptions(Frozen):
    """Options.

    Args:
        decay: Share of the old mean that a batch keeps; nearer to 1 is steadier.
    """

    decay: float = Field(default=0.99, ge=0, lt=1)


@register_balancer("magnitude")
class Magnitude(LossBalancer):
    """Factors that are inverse to the size of each loss."""

    Options = MagnitudeOptions

    def __init__(self, parts: BalancerParts, options: MagnitudeOptions) -> None:
        super().__init__(parts, options)
        self.decay = options.decay
        self._sums_T = torch.zeros(len(parts.tasks))
        self._weights_T = torch.zeros(len(parts.tasks))

    def factors(self, losses_T: Tensor) -> Tensor:
        """Give ``c / E_k``; 1 for a task that had no label yet."""
        keep_T = torch.where(losses_T != 0, self.decay, 1.0)
        self._sums_T = keep_T * self._sums_T + (1.0 - keep_T) * losses_T.abs()
        self._weights_T = keep_T * self._weights_T + (1.0 - keep_T)
        seen_T = self._weights_T > 0
        inverse_T = torch.where(seen_T, self._weights_T / torch.clamp(self._sums_T, min=1e-12), 0.0)
        factors_T = inverse_T * seen_T.sum() / torch.clamp(inverse_T.sum(), min=1e-12)
        return torch.where(seen_T, factors_T, torch.ones_like(factors_T))
