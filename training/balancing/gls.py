"""GLS, geometric loss strategy: the geometric mean of the losses instead of their sum.

S. Chennupati et al., "MultiNet++: multi-stream feature aggregation and geometric loss strategy for multi-task
learning", CVPR Workshops 2019. https://doi.org/10.1109/CVPRW.2019.00159

Equations::

    L   = T (prod_k L_k)^(1/T),     whose gradient is  sum_k f_k dL_k
    f_k = (prod_j L_j)^(1/T) / L_k

The paper's mean has no T in front; with it equal losses get factors of 1. A factor is inverse to its loss, without a
memory: a batch in which one loss is nearly 0 is ruled by it. Static weights multiply the factors, for inside a
product they would be lost.
"""

import torch
from pydantic import Field
from torch import Tensor

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.loss_weights import LossBalancer, above_bounds

__all__ = ["Gls", "GlsOptions"]


class GlsOptions(Frozen):
    """Options.

    Args:
        lower_bounds: By task, what its loss cannot fall below, where that is not 0 (a log-likelihood).
    """

    lower_bounds: dict[str, float] = Field(default_factory=dict)


@register_balancer("gls")
class Gls(LossBalancer):
    """The product over the tasks that have a label in the batch."""

    Options = GlsOptions

    def __init__(self, parts: BalancerParts, options: GlsOptions) -> None:
        super().__init__(parts, options)
        self.lower_bounds = options.lower_bounds

    def factors(self, losses_T: Tensor) -> Tensor:
        """Give the geometric mean over each loss."""
        above_T = above_bounds(losses_T, self.lower_bounds, self.parts.tasks)
        counts_T = above_T > 0
        logs_T = torch.where(counts_T, torch.log(torch.where(counts_T, above_T, 1.0)), 0.0)
        mean_log = logs_T.sum() / torch.clamp(counts_T.sum(), min=1)
        return torch.where(counts_T, torch.exp(mean_log - logs_T), torch.ones_like(logs_T))
