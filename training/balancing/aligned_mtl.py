"""Aligned-MTL: the gradients' principal directions are brought to one length before they are added.

D. Senushkin et al., "Independent component alignment for multi-task learning", CVPR 2023.
https://arxiv.org/abs/2305.19000

Equations, with the Gram matrix ``G = V diag(s^2) V'``, over its rank::

    B = s_min V diag(1/s) V',     d = sum_k (B 1)_k g_k

The aligned gradients ``B g`` all have the singular value s_min. Where gradients differ much in length s_min is that
of the smallest, and the step is short; ``scale="rmse"`` takes the root of the mean of s^2 instead, as the authors'
code does, and ``"median"`` the median.

The arithmetic is TorchJD's (MIT licence); LibMTL's calls ``torch.symeig``, which PyTorch removed.
"""

from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torchjd.aggregation import AlignedMTLWeighting

from contract.frozen import Frozen
from training.balancing.base import BalancerParts, register_balancer
from training.balancing.gradients import GradientBalancer

__all__ = ["AlignedMtl", "AlignedMtlOptions"]


class AlignedMtlOptions(Frozen):
    """Options.

    Args:
        scale: Which singular value all get.
    """

    scale: Literal["min", "median", "rmse"] = "min"


@register_balancer("aligned_mtl")
class AlignedMtl(GradientBalancer):
    """Takes one eigendecomposition of a K by K matrix a batch."""

    Options = AlignedMtlOptions

    def __init__(self, parts: BalancerParts, options: AlignedMtlOptions) -> None:
        super().__init__(parts, options)
        self.scale = options.scale

    def combine(self, gramian_KK: NDArray[Any], tasks_K: NDArray[Any]) -> NDArray[Any]:
        """Align; in float32, whose precision says which directions of float32 gradients are real."""
        align = AlignedMTLWeighting(pref_vector=torch.ones(len(tasks_K)), scale_mode=self.scale)
        factors_K: NDArray[Any] = align(torch.from_numpy(gramian_KK).float()).double().numpy()
        return factors_K
