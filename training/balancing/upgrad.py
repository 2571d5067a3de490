"""UPGrad: every gradient is projected to where it conflicts with no task, then they are added.

P. Quinton & V. Rey, "Jacobian descent for multi-objective optimization", 2024. https://arxiv.org/abs/2406.16232

Equations, with the dual cone ``C = {d: <g_k, d> >= 0 for every k}``::

    d = sum_k argmin_{d in C} |d - g_k|^2

To first order no task's loss rises, and where nothing conflicts it is the static sum. The paper means instead of
adding; static weights keep their meaning, as a projection onto a cone scales with its vector.

TorchJD's weighting (MIT licence) with our exact projector instead of its own, which needs quadprog and a ridge of
1e-4 that leaves conflicts of that size.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchjd.aggregation import UPGradWeighting
from torchjd.linalg import DualConeProjector, PSDMatrix

from training.balancing.base import register_balancer
from training.balancing.gradients import GradientBalancer
from training.balancing.solvers import dual_cone_weights

__all__ = ["UpGrad"]


class _ActiveSetProjector(DualConeProjector):
    def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:  # noqa: N803 - the library's names
        """Project each row of weights; ``[K, K] → [K, K]``."""
        gramian_KK = G.numpy()
        return torch.from_numpy(np.stack([dual_cone_weights(gramian_KK, row) for row in U.numpy()]))


@register_balancer("upgrad")
class UpGrad(GradientBalancer):
    """Solves K quadratic programs of K numbers a batch."""

    def combine(self, gramian_KK: NDArray[Any], tasks_K: NDArray[Any]) -> NDArray[Any]:
        """Give the sum of the projections."""
        ones_K = torch.ones(len(tasks_K), dtype=torch.float64)
        project = UPGradWeighting(pref_vector=ones_K, projector=_ActiveSetProjector())
        factors_K: NDArray[Any] = project(torch.from_numpy(gramian_KK)).numpy()
        return factors_K
