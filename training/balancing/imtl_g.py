"""IMTL-G: a direction with the same projection on every task's unit gradient.

L. Liu et al., "Towards impartial multi-task learning", ICLR 2021. https://openreview.net/forum?id=IMPnRXEWpvr

Equations, with ``u_k = g_k / |g_k|``::

    <d, u_k> the same for every k,   d = sum_k a_k g_k

The paper scales to ``sum a = 1``. With three or more tasks that sum can be negative, and the step then climbs on
every task at once (TorchJD does; LibMTL's ``torch.inverse`` also fails where gradients align). Here the pulls
``sum a_k |g_k|`` add up to those of the static sum, which is always possible, so the projection is positive. Single
weights may be negative. Static weights cancel out. Where two gradients point in opposite directions there is no such
vector and the shared parameters rest for the batch, but for the penalty.
"""

from typing import Any

from numpy.typing import NDArray

from training.balancing.base import register_balancer
from training.balancing.gradients import GradientBalancer
from training.balancing.solvers import equal_projection_weights

__all__ = ["ImtlG"]


@register_balancer("imtl_g")
class ImtlG(GradientBalancer):
    """Solves a K by K linear system a batch."""

    def combine(self, gramian_KK: NDArray[Any], tasks_K: NDArray[Any]) -> NDArray[Any]:
        """Give the weights of the bisector."""
        return equal_projection_weights(gramian_KK)
