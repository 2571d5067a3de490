"""Balancers that combine the gradients of each task on the dense parameters that tasks share.

They cost one more backward pass a task, through the towers and the shared layers only, and memory for T gradients of
the shared parameters. Everything else, embedding tables and towers, gets the plain weighted sum: T gradients of a
table of ten million rows would be the whole cost of a step, and a row is seen by few tasks at a time.

All methods need no more than the Gram matrix of the gradients, ``[T, T]``, and answer with a factor a task::

    d = sum_k f_k g_k,     g_k = w_k dL_k/dshared      f = 1 is the static sum
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.balancing.base import Balancer

__all__ = ["GradientBalancer", "cosines", "gradients_of", "gram", "task_gradients"]

Array = NDArray[Any]


class GradientBalancer(Balancer):
    """Sends the weighted sum back everywhere, then moves the shared parameters' gradient to the combination."""

    @abstractmethod
    def combine(self, gramian_KK: Array, tasks_K: Array) -> Array:
        """Give a factor for each of K tasks with a gradient, K two or more.

        Args:
            gramian_KK: Inner products of the tasks' gradients, float64, its diagonal 1 in the mean.
            tasks_K: Positions of those tasks among all.
        """

    def backward(self, losses_T: Tensor, penalty: Tensor | None) -> None:
        """Send the losses back, each on its own through the shared layers and all together through the rest."""
        gradients_TP = task_gradients(losses_T * self.weights_T, self.parts.shared)
        self.send_back(losses_T, torch.ones_like(losses_T), penalty)
        gramian_TT = gram(gradients_TP)
        factors_T = torch.from_numpy(self._factors(gramian_TT)).to(losses_T.dtype)
        _add(self.parts.shared, (factors_T - 1.0) @ gradients_TP)
        self.note_factors(losses_T, factors_T)
        self.means.add(cosines(self.parts.tasks, gramian_TT))

    def _factors(self, gramian_TT: Array) -> Array:
        factors_T = np.ones(len(gramian_TT))
        tasks_K = np.flatnonzero(np.diagonal(gramian_TT) > 0)
        # What is not finite stays so: the next batch's loss ends the run with a sentence.
        if len(tasks_K) > 1 and np.isfinite(gramian_TT).all():
            gramian_KK = gramian_TT[np.ix_(tasks_K, tasks_K)]
            factors_T[tasks_K] = self.combine(gramian_KK / np.diagonal(gramian_KK).mean(), tasks_K)
        return factors_T


def gradients_of(loss: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor | None, ...]:
    """Give a loss's gradient on each parameter, None where it does not reach it; the graph is kept."""
    given: tuple[Tensor | None, ...] = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return given


def task_gradients(losses_T: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Give each loss's gradient on *parameters*, flat, ``[T, P]``; 0 where a loss does not reach one."""
    if not parameters:
        return losses_T.new_zeros(len(losses_T), 0)
    rows = []
    for loss in losses_T:
        pairs = zip(gradients_of(loss, parameters), parameters, strict=True)
        rows.append(torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in pairs]))
    return torch.stack(rows)


def gram(gradients_TP: Tensor) -> Array:
    """Give the inner products of all pairs of gradients, float64 ``[T, T]``."""
    wide_TP = gradients_TP.double()
    gramian_TT: Array = (wide_TP @ wide_TP.T).numpy()
    return gramian_TT


def cosines(tasks: Sequence[str], gramian_TT: Array) -> dict[str, float]:
    """Name the cosine of each pair of tasks that both have a gradient."""
    norms_T = np.sqrt(np.diagonal(gramian_TT))
    return {
        f"cosine/{tasks[i]}/{tasks[j]}": float(gramian_TT[i, j] / (norms_T[i] * norms_T[j]))
        for i in range(len(tasks))
        for j in range(i + 1, len(tasks))
        if norms_T[i] > 0 and norms_T[j] > 0
    }


def _add(parameters: Sequence[nn.Parameter], change_P: Tensor) -> None:
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, change in zip(parameters, torch.split(change_P, sizes), strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(change.view_as(parameter))
