"""A moving average of the weights: steadier than the last step, and less a matter of the seed.

B. Polyak & A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim. 30, 1992,
https://doi.org/10.1137/0330046; exponential, as is usual in deep learning.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]

# One visit to large tables in so many steps; the decay is taken to that power, so that the average has the same length.
_EVERY = 8


class WeightAverage:
    """The exponential moving average of a model's weights.

    Args:
        model: Whose weights.
        decay: Share of the average that a step keeps; 0 keeps none, and costs nothing.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        # Running means of a normalisation belong to the weights that they were seen with, so they are averaged too.
        kept = model.state_dict().keys()
        running = [buffer for name, buffer in model.named_buffers() if name in kept and buffer.is_floating_point()]
        self._weights: list[Tensor] = [*(p for p in model.parameters() if p.requires_grad), *running]
        self._average: list[Tensor] = [weight.detach().clone() for weight in self._weights] if decay else []
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step; early on, recent steps count for more."""
        self._steps += 1
        if not self._average or self._steps % _EVERY:
            return
        decay = min(self._decay, (1.0 + self._steps) / (10.0 + self._steps))
        torch._foreach_lerp_(self._average, self._weights, 1.0 - decay**_EVERY)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the average within the block, and its own weights again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        if self._steps < _EVERY:
            return
        for weight, average in zip(self._weights, self._average, strict=False):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
