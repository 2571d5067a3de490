"""Fixed weights: the sum that every other balancer has to beat.

Field evidence (LibMTL#39 and others) is that tuned fixed weights often win; they always stand in our comparisons.
"""

from torch import Tensor

from training.balancing.base import Balancer, register_balancer

__all__ = ["Static"]


@register_balancer("static")
class Static(Balancer):
    """``L = sum_k w_k L_k``."""

    def backward(self, losses_T: Tensor, penalty: Tensor | None) -> None:
        """Send the weighted sum back."""
        total = (losses_T * self.weights_T).sum()
        (total if penalty is None else total + penalty).backward()  # type: ignore[no-untyped-call]
