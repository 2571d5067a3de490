"""GradVac, gradient vaccine: a gradient that agrees with another task's less than usual is turned towards it.

Z. Wang et al., "Gradient vaccine: investigating and improving multi-task optimization in massively multilingual
models", ICLR 2021. https://openreview.net/forum?id=F1vEjWK-lH_

Equations, for each task i, over the other tasks j in random order, phi the cosine of g_i (as changed so far) and
the original g_j, and target_ij its running mean::

    g_i <- g_i + |g_i| (target sqrt(1 - phi^2) - phi sqrt(1 - target^2)) / (|g_j| sqrt(1 - target^2)) g_j
                                                                               where phi < target
    target_ij <- (1 - beta) target_ij + beta phi
    d = sum_i g_i

With targets of 0 it is PCGrad. Our own lines instead of TorchJD's for three reasons: its epsilon of 1e-8 beside
squared norms shrinks the cosines of small gradients, a batch without a task's labels pulls that task's targets to 0
there, and it draws from torch's global generator. Where none of that matters a test holds the two equal.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.gradients import GradientBalancer

__all__ = ["GradVac", "GradVacOptions"]

Array = NDArray[Any]
# As the target nears 1 the factor nears a division by 0.
_MOST_ALIKE = 1.0 - 1e-6


class GradVacOptions(Frozen):
    """Options.

    Args:
        beta: Share of a batch's cosine in the running mean; 0.5 in LibMTL and TorchJD.
    """

    beta: float = Field(default=0.5, ge=0, le=1)


@register_balancer("gradvac")
class GradVac(GradientBalancer):
    """Keeps a target cosine for each ordered pair of tasks."""

    Options = GradVacOptions

    def __init__(self, parts: BalancerParts, options: GradVacOptions) -> None:
        super().__init__(parts, options)
        self.beta = options.beta
        self.targets_TT = np.zeros((len(parts.tasks), len(parts.tasks)))
        self._random = np.random.default_rng(parts.seed)

    def combine(self, gramian_KK: Array, tasks_K: Array) -> Array:
        """Turn each gradient in random order; each row of *mixed* holds one as weights of the original ones."""
        mixed_KK = np.eye(len(tasks_K))
        for i, mixed_K in enumerate(mixed_KK):
            others = np.delete(np.arange(len(tasks_K)), i)
            for j in self._random.permutation(others):
                mixed_K[j] += self._turn(gramian_KK, mixed_K, int(j), (int(tasks_K[i]), int(tasks_K[j])))
        factors_K: Array = mixed_KK.sum(axis=0)
        return factors_K

    def _turn(self, gramian_KK: Array, mixed_K: Array, j: int, pair: tuple[int, int]) -> float:
        """Give how much of g_j to add, and move the pair's target."""
        norm_i, norm_j = np.sqrt(max(float(mixed_K @ gramian_KK @ mixed_K), 0.0)), np.sqrt(gramian_KK[j, j])
        cosine = float(np.clip(mixed_K @ gramian_KK[:, j] / max(norm_i * norm_j, 1e-300), -1.0, 1.0))
        target = float(np.clip(self.targets_TT[pair], -_MOST_ALIKE, _MOST_ALIKE))
        self.targets_TT[pair] = (1.0 - self.beta) * self.targets_TT[pair] + self.beta * cosine
        if cosine >= target:
            return 0.0
        of_target, of_cosine = np.sqrt(1.0 - target**2), np.sqrt(1.0 - cosine**2)
        return float(norm_i * (target * of_cosine - cosine * of_target) / (norm_j * of_target))
