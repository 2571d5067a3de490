"""Balancers that put a factor on each loss: one backward pass, whatever the size of the model.

The factors hold for every parameter alike, embedding tables and towers included.
"""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from training.balancing.base import Balancer
from training.errors import InvalidOption

__all__ = ["LossBalancer", "above_bounds", "relative_change", "step_where"]


class LossBalancer(Balancer):
    """``L = sum_k w_k f_k L_k`` with static weights w and factors f that are constants for the backward pass."""

    @abstractmethod
    def factors(self, losses_T: Tensor) -> Tensor:
        """Give this batch's factors, ``[T]``, from its raw losses, which carry no graph."""

    def backward(self, losses_T: Tensor, penalty: Tensor | None) -> None:
        """Send the sum of the weighted losses back."""
        factors_T = self.factors(losses_T.detach())
        self.send_back(losses_T, factors_T, penalty)
        self.note_factors(losses_T, factors_T)


def above_bounds(losses_T: Tensor, bounds: Mapping[str, float], tasks: tuple[str, ...]) -> Tensor:
    """Give how far each loss lies above its lower bound, ``[T]``, 0 where the batch has no label.

    Raises:
        InvalidOption: When a loss lies below its bound: its logarithm is not defined.
    """
    bounds_T = torch.tensor([bounds.get(task, 0.0) for task in tasks])
    above_T = torch.where(losses_T != 0, losses_T - bounds_T, torch.zeros_like(losses_T))
    for task, value in zip(tasks, above_T.tolist(), strict=True):
        if value < 0:
            raise InvalidOption(
                f"the loss of {task!r} fell {-value:.3g} below {bounds.get(task, 0.0):g}, and this balancer takes logs",
                fix=f'give a bound that it cannot pass, as in lower_bounds={{"{task}": -10}}',
            )
    return above_T


@torch.no_grad()
def step_where(counts_T: Tensor, adam: torch.optim.Optimizer, learnt_T: Tensor) -> None:
    """Take an optimiser's step on the entries that count; momentum would move the others too."""
    before_T = learnt_T.clone()
    adam.step()
    learnt_T.copy_(torch.where(counts_T, learnt_T, before_T))


def relative_change(later: Tensor, earlier: Tensor) -> Tensor:
    """Give ``later / earlier`` where that is positive, and its continuation where a likelihood is not."""
    return torch.clamp(1.0 + (later - earlier) / torch.clamp(earlier.abs(), min=1e-8), min=1e-3)
