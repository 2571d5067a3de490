"""Nash-MTL: the direction on which the tasks agree as Nash's bargainers would.

A. Navon et al., "Multi-task learning as a bargaining game", ICML 2022. https://proceedings.mlr.press/v162/navon22a.html

Equations, G the Gram matrix of the gradients::

    G a = 1 / a,   a > 0
    d = s sum_k a_k g_k,   s such that  s sum_k a_k |g_k| = sum_k |g_k|

The paper's own step has length sqrt(T) whatever the losses are, and is cut to length 1; with losses in the hundreds
its users saw weights near 1e-3 and no training (nash-mtl#13). Here s keeps the pulls of the tasks adding up to those
of the static sum. Static weights cancel out: a bargain does not know the size of a
loss. Solved by Newton steps on a convex function instead of a sequence of cvxpy problems.
"""

from typing import Any

from numpy.typing import NDArray

from training.balancing.base import register_balancer
from training.balancing.gradients import GradientBalancer
from training.balancing.solvers import bargaining_weights

__all__ = ["NashMtl"]


@register_balancer("nash_mtl")
class NashMtl(GradientBalancer):
    """Solves a K by K problem a batch."""

    def combine(self, gramian_KK: NDArray[Any], tasks_K: NDArray[Any]) -> NDArray[Any]:
        """Give the bargain's weights."""
        return bargaining_weights(gramian_KK)
