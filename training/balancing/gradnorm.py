"""GradNorm: weights that let every task pull on the last shared layer as hard as its progress asks for.

Z. Chen et al., "GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks", ICML 2018.
https://proceedings.mlr.press/v80/chen18a.html

Equations, with W the last shared layer::

    G_k = f_k |dL_k/dW|,    G = mean G_k
    r_k = (L_k / L_k(0)) / mean_j (L_j / L_j(0))       slow tasks have r above 1
    f  <- Adam(f, d/df sum_k |G_k - G r_k^alpha|)      the target G r^alpha is a constant
    f  <- T f / sum f

It costs a backward pass a task through the towers alone. W is found at the first batch: the last weight matrix of
which some entry is moved by every task, or by as many as there are. That leaves out gates that have rows of their own
for each task, though they stand in one tensor.

torch-rechub takes the first parameter instead, an embedding table (``share_layers[-0]``), gives every task the same
target (the mean of the ratios in place of r_k), and stops with an UnboundLocalError.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.frozen import Frozen
from training.balancing.base import Balancer, BalancerParts, register_balancer
from training.balancing.gradients import gradients_of
from training.balancing.loss_weights import relative_change, step_where

__all__ = ["GradNorm", "GradNormOptions", "last_shared_layer"]

_LEAST = 1e-3


class GradNormOptions(Frozen):
    """Options.

    Args:
        alpha: How strongly slow tasks are helped; 0 makes all pull alike.
        learning_rate: Of the factors.
    """

    alpha: float = Field(default=1.5, ge=0)
    learning_rate: float = Field(default=0.025, gt=0)


@register_balancer("gradnorm")
class GradNorm(Balancer):
    """Keeps one factor a task, stepped by an Adam of its own."""

    Options = GradNormOptions

    def __init__(self, parts: BalancerParts, options: GradNormOptions) -> None:
        super().__init__(parts, options)
        self.alpha = options.alpha
        self.factors_T = torch.ones(len(parts.tasks), requires_grad=True)
        self.layer: nn.Parameter | None = None
        self._adam = torch.optim.Adam([self.factors_T], lr=options.learning_rate)
        self._first_T = torch.zeros(len(parts.tasks))

    def backward(self, losses_T: Tensor, penalty: Tensor | None) -> None:
        """Send the weighted losses back, then move the factors for the next batch."""
        norms_T = self._norms(losses_T)
        factors_T = self.factors_T.detach().clone()
        self.send_back(losses_T, factors_T, penalty)
        self.note_factors(losses_T, factors_T)
        self._learn(losses_T.detach(), norms_T)

    def _norms(self, losses_T: Tensor) -> Tensor:
        """Give ``|dL_k/dW|``, ``[T]``; 0 where the batch has no label."""
        if self.layer is None:
            self.layer = last_shared_layer(losses_T, self.parts.shared)
        if self.layer is None:
            return torch.zeros_like(losses_T)
        given = [gradients_of(loss, [self.layer])[0] for loss in losses_T]
        return torch.stack([losses_T.new_zeros(()) if each is None else each.norm() for each in given])

    def _learn(self, losses_T: Tensor, norms_T: Tensor) -> None:
        self._first_T = torch.where(self._first_T == 0, losses_T, self._first_T)
        counts_T = norms_T > 0
        if counts_T.sum() < 2:
            return
        pulls_T = self.factors_T.detach() * norms_T
        rates_T = relative_change(losses_T, self._first_T)
        rates_T = rates_T / rates_T[counts_T].mean()
        targets_T = pulls_T[counts_T].mean() * rates_T**self.alpha
        self.factors_T.grad = torch.where(counts_T, torch.sign(pulls_T - targets_T) * norms_T, 0.0)
        step_where(counts_T, self._adam, self.factors_T)
        self._renormalise(counts_T)

    @torch.no_grad()
    def _renormalise(self, counts_T: Tensor) -> None:
        """Keep the sum at T by the factors that moved."""
        self.factors_T.clamp_(min=_LEAST)
        left = len(self.factors_T) - self.factors_T[~counts_T].sum()
        self.factors_T.mul_(torch.where(counts_T, left / self.factors_T[counts_T].sum(), 1.0))


def last_shared_layer(losses_T: Tensor, shared: Sequence[nn.Parameter]) -> nn.Parameter | None:
    """Give the last of the weight matrices of which an entry is moved by the most losses; None where none is by two."""
    losses = [loss for loss in losses_T if loss.item() != 0]
    if len(losses) < 2 or not shared:
        return None
    given = [gradients_of(loss, shared) for loss in losses]
    movers = [_movers(each) if _is_matrix(p) else 0 for p, *each in zip(shared, *given, strict=True)]
    most = max(movers)
    return shared[len(movers) - 1 - movers[::-1].index(most)] if most > 1 else None


def _movers(gradients: Sequence[Tensor | None]) -> int:
    """Count the gradients that move the entry which most of them move."""
    moved = [gradient != 0 for gradient in gradients if gradient is not None]
    return int(torch.stack(moved).sum(dim=0).max()) if moved else 0


def _is_matrix(parameter: nn.Parameter) -> bool:
    """Tell weights from biases; stacked layers have biases of shape ``[E, 1, O]``."""
    return parameter.ndim > 1 and min(parameter.shape[-2:]) > 1
