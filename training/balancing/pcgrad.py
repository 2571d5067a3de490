"""PCGrad: a gradient that conflicts with another task's loses the part that conflicts.

T. Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020. https://arxiv.org/abs/2001.06782

Equations, for each task i, over the other tasks j in random order::

    g_i <- g_i - <g_i, g_j> / |g_j|^2 g_j     where <g_i, g_j> < 0;  the right g_j is the original one
    d   =  sum_i g_i

Without conflict it is the static sum. With two tasks the result conflicts with neither; with three or more it may,
for a later projection can undo an earlier one: :mod:`training.balancing.upgrad` keeps that promise.

The arithmetic is TorchJD's (MIT licence).
"""

from typing import Any

import torch
from numpy.typing import NDArray
from torchjd.aggregation import PCGradWeighting

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.gradients import GradientBalancer

__all__ = ["PcGrad"]


@register_balancer("pcgrad")
class PcGrad(GradientBalancer):
    """Keeps a random state of its own; the library draws from torch's global one."""

    def __init__(self, parts: BalancerParts, options: Frozen) -> None:
        super().__init__(parts, options)
        self._weighting = PCGradWeighting()
        self._state = torch.Generator().manual_seed(parts.seed).get_state()

    def combine(self, gramian_KK: NDArray[Any], tasks_K: NDArray[Any]) -> NDArray[Any]:
        """Project in random order."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._state)
            factors_K: NDArray[Any] = self._weighting(torch.from_numpy(gramian_KK)).numpy()
            self._state = torch.get_rng_state()
        return factors_K
