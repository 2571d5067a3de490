"""CAGrad, conflict-averse gradient descent: the direction near the mean gradient that serves the worst-off task best.

B. Liu et al., "Conflict-averse gradient descent for multi-task learning", NeurIPS 2021.
https://openreview.net/forum?id=_61Qh8tULj_

Equations, with the mean gradient ``g_0 = sum_k g_k / T``::

    d* = argmax_d min_k <g_k, d>   subject to   |d - g_0| <= c |g_0|
    d  = T d* / (1 + c)

c = 0 is the static sum; as c grows it nears MGDA. The last line is ours: the paper's authors offer divisions by
``1 + c^2`` and ``1 + c``, and with the latter agreeing tasks take the static step. The inner problem is solved exactly
(:func:`training.balancing.solvers.conflict_averse_weights`).
"""

from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.gradients import GradientBalancer
from training.balancing.solvers import conflict_averse_weights

__all__ = ["CaGrad", "CaGradOptions"]


class CaGradOptions(Frozen):
    """Options.

    Args:
        c: Radius of the ball around the mean gradient, as a share of its length.
    """

    c: float = Field(default=0.5, ge=0, lt=1)


@register_balancer("cagrad")
class CaGrad(GradientBalancer):
    """Solves a K by K problem a batch."""

    Options = CaGradOptions

    def __init__(self, parts: BalancerParts, options: CaGradOptions) -> None:
        super().__init__(parts, options)
        self.c = options.c

    def combine(self, gramian_KK: NDArray[Any], tasks_K: NDArray[Any]) -> NDArray[Any]:
        """Give the worst-off task's best direction."""
        factors_K: NDArray[Any] = conflict_averse_weights(gramian_KK, self.c) * len(tasks_K) / (1.0 + self.c)
        return factors_K
