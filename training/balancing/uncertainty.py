"""Uncertainty weighting: each task's noise is learnt beside the model, and its loss divided by it.

A. Kendall, Y. Gal & R. Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and
semantics", CVPR 2018. https://doi.org/10.1109/CVPR.2018.00781

Equations::

    paper:  L = sum_k a_k exp(-s_k) L_k + s_k / 2        a = 1/2 for a squared error, 1 for a cross-entropy
    here:   L = sum_k w_k (exp(-t_k) L_k + t_k / 2)      t_k = s_k - ln a_k, started at 0

The two have the same gradients: a only says where s starts. Started at t = 0 every factor begins at 1 as the static
sum has it, and no kind of task needs to be known. A factor settles at ``exp(-t_k) = 1 / (2 L_k)``.

Cross-entropies of clicks are small, so t drifts down and the factors grow; *bound* stops them. The bound is kept by
moving t back after each step: clamping inside the loss, as torch-rechub does, leaves no gradient to come back with
(and its clamp at 0 lets no weight rise above its start). A batch without a task's label leaves its t alone; its
``t / 2`` would pull the factor up.
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.frozen import Frozen
from training.balancing.base import Balancer, BalancerParts, register_balancer

__all__ = ["Uncertainty", "UncertaintyOptions"]


class UncertaintyOptions(Frozen):
    """Options.

    Args:
        bound: Largest size of a log-variance t; 3 keeps factors between 1/20 and 20.
    """

    bound: float = Field(default=3.0, gt=0)


@register_balancer("uncertainty")
class Uncertainty(Balancer):
    """Learns a log-variance a task with the trainer's optimiser."""

    Options = UncertaintyOptions

    def __init__(self, parts: BalancerParts, options: UncertaintyOptions) -> None:
        super().__init__(parts, options)
        self.bound = options.bound
        self.log_variance_T = nn.Parameter(torch.zeros(len(parts.tasks)))
        self._before_T = torch.zeros(len(parts.tasks))
        self._has_label_T = torch.zeros(len(parts.tasks), dtype=torch.bool)

    def parameters(self) -> list[nn.Parameter]:
        """Give the log-variances."""
        return [self.log_variance_T]

    def backward(self, losses_T: Tensor, penalty: Tensor | None) -> None:
        """Send the negative log-likelihood back, to the model and to the log-variances."""
        factors_T = torch.exp(-self.log_variance_T)
        self._before_T, self._has_label_T = self.log_variance_T.detach().clone(), losses_T.detach() != 0
        self.note_factors(losses_T, factors_T)
        nll_T = self._has_label_T * (factors_T * losses_T + self.log_variance_T / 2.0)
        self.send_back(nll_T, torch.ones_like(nll_T), penalty)

    def after_step(self, losses_again: Callable[[], Tensor]) -> None:
        """Bring the log-variances back into their bounds, and those without a label to where they were."""
        with torch.no_grad():
            self.log_variance_T.clamp_(-self.bound, self.bound)
            # The optimiser's momentum moved them too.
            self.log_variance_T.copy_(torch.where(self._has_label_T, self.log_variance_T, self._before_T))
