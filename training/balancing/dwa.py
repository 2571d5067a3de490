"""DWA, dynamic weight average: tasks whose loss fell least over the last epoch get more weight.

S. Liu, E. Johns & A. Davison, "End-to-end multi-task learning with attention", CVPR 2019.
https://doi.org/10.1109/CVPR.2019.00197

Equations, for epoch t::

    r_k = L_k(t-1) / L_k(t-2)                     means over whole epochs
    f_k = T exp(r_k / tau) / sum_j exp(r_j / tau)    T tasks, tau the temperature; 1 in the first two epochs

Only ratios matter, so losses of different size need no scaling; and where all losses are stable the factors are all
near 1. A likelihood below 0 has no ratio; its relative change takes the place.
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.loss_weights import LossBalancer, relative_change

__all__ = ["Dwa", "DwaOptions"]


class DwaOptions(Frozen):
    """Options.

    Args:
        temperature: Higher brings the factors nearer to each other.
    """

    temperature: float = Field(default=2.0, gt=0)


@register_balancer("dwa")
class Dwa(LossBalancer):
    """Factors that stand for a whole epoch."""

    Options = DwaOptions

    def __init__(self, parts: BalancerParts, options: DwaOptions) -> None:
        super().__init__(parts, options)
        self.temperature = options.temperature
        self._epochs: list[Tensor] = []

    def start_epoch(self, mean_losses: Mapping[str, float] | None) -> None:
        """Keep the losses of the last two epochs."""
        if mean_losses is not None:
            losses_T = torch.tensor([mean_losses[task] for task in self.parts.tasks])
            self._epochs = [*self._epochs, losses_T][-2:]

    def factors(self, losses_T: Tensor) -> Tensor:
        """Give the epoch's factors."""
        if len(self._epochs) < 2:
            return torch.ones_like(losses_T)
        ratios_T = relative_change(self._epochs[1], self._epochs[0])
        return len(ratios_T) * torch.softmax(ratios_T / self.temperature, dim=0)
