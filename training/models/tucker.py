"""A stack of matrices as one Tucker tensor.

L. Tucker, "Some mathematical notes on three-mode factor analysis", Psychometrika 31, 1966; started by the
higher-order SVD of L. De Lathauwer et al., SIAM J. Matrix Anal. Appl. 21, 2000.
"""

import math

import torch
from torch import Tensor, nn

from training.errors import InvalidOption

__all__ = ["Tucker"]


class Tucker(nn.Module):
    """T matrices ``[I, O]`` as one tensor of low rank, started so that their variance is 2 / I.

    Args:
        shape: ``(T, I, O)``.
        ranks: ``(r1, r2, r3)`` of inputs, outputs and tasks.

    Raises:
        InvalidOption: When a rank is below 1 or beyond what its side of the tensor has.
    """

    def __init__(self, shape: tuple[int, int, int], ranks: tuple[int, int, int]) -> None:
        super().__init__()
        ranks_by_side = (ranks[2], ranks[0], ranks[1])
        most = [min(side, math.prod(shape) // side) for side in shape]
        if any(not 1 <= rank <= limit for rank, limit in zip(ranks_by_side, most, strict=True)):
            limits = (most[1], most[2], most[0])
            raise InvalidOption(f"ranks {ranks} do not fit a layer", fix=f"each must be from 1 to {limits}")
        he_TIO = torch.randn(shape) * math.sqrt(2.0 / shape[1])
        task_TC, input_IA, output_OB = (_basis(he_TIO, side, rank) for side, rank in enumerate(ranks_by_side))
        self.task_TC, self.input_IA, self.output_OB = map(nn.Parameter, (task_TC, input_IA, output_OB))
        self.core_CAB = nn.Parameter(torch.einsum("tio,tc,ia,ob->cab", he_TIO, task_TC, input_IA, output_OB))
        with torch.no_grad():
            self.core_CAB.mul_(math.sqrt(2.0 / shape[1]) / self().square().mean().sqrt())

    def forward(self) -> Tensor:
        """Give the matrices, ``[T, I, O]``."""
        mixed_TX = torch.matmul(self.task_TC, self.core_CAB.flatten(1))
        mixed_TAB = mixed_TX.reshape(-1, *self.core_CAB.shape[1:])
        return torch.matmul(torch.matmul(self.input_IA, mixed_TAB), self.output_OB.T)


def _basis(weight_TIO: Tensor, side: int, rank: int) -> Tensor:
    """Give the leading left singular vectors of one unfolding, ``[side, rank]``."""
    left: Tensor = torch.linalg.svd(weight_TIO.movedim(side, 0).flatten(1), full_matrices=False)[0]
    return left[:, :rank].clone()
