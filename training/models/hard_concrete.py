"""Hard concrete gates: switches between 0 and 1 that reach both ends and have gradients.

C. Louizos, M. Welling & D. Kingma, "Learning Sparse Neural Networks through L0 Regularization", ICLR 2018.
https://arxiv.org/abs/1712.01312

Equations::

    z = clip(s (zeta - gamma) + gamma, 0, 1)
    s = sigmoid((log e - log(1 - e) + log a) / beta)      training; e uniform in (0, 1)
    s = sigmoid(log a)                                    serving; a constant
    P(z > 0) = sigmoid(log a - beta log(-gamma / zeta))

beta = 2/3, gamma = -0.1 and zeta = 1.1 as in the paper.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["HardConcrete"]

BETA, GAMMA, ZETA = 2.0 / 3.0, -0.1, 1.1


class HardConcrete(nn.Module):
    """Gates of I times O connections, each between 0 and 1 and both ends reached."""

    def __init__(self, inputs: int, outputs: int, start: float) -> None:
        super().__init__()
        self.log_alpha_OI = nn.Parameter(torch.full((outputs, inputs), start))

    def forward(self) -> Tensor:
        """Give z, ``[O, I]``: drawn anew in training, a constant in serving."""
        return torch.clamp(torch.sigmoid(self._logits()) * (ZETA - GAMMA) + GAMMA, 0.0, 1.0)

    def expected_open(self) -> Tensor:
        """Give the expected count of connections that are not closed, a scalar."""
        return torch.sigmoid(self.log_alpha_OI - BETA * math.log(-GAMMA / ZETA)).sum()

    def _logits(self) -> Tensor:
        if not self.training:
            return self.log_alpha_OI
        noise_OI = torch.rand_like(self.log_alpha_OI).clamp(1e-6, 1.0 - 1e-6)
        return (torch.logit(noise_OI) + self.log_alpha_OI) / BETA
