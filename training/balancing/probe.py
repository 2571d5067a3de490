"""Measures whether tasks agree: cosines of their gradients on the shared parameters, under any balancer."""

from torch import Tensor

from training.balancing.base import BalancerParts
from training.balancing.gradients import cosines, gram, task_gradients
from training.balancing.means import Means

__all__ = ["GradientProbe"]


class GradientProbe:
    """Looks at every n-th batch; a look costs a backward pass a task through towers and shared layers.

    Args:
        parts: Names the tasks and the shared parameters.
        every: Batches from one look to the next; None never looks.
    """

    def __init__(self, parts: BalancerParts, *, every: int | None) -> None:
        self.parts = parts
        self.every = every
        self._seen = 0
        self._means = Means()

    def look(self, losses_T: Tensor) -> None:
        """Measure one batch if it is its turn; changes no gradient and keeps the graph."""
        if self.every is not None and self._seen % self.every == 0:
            self._means.add(cosines(self.parts.tasks, gram(task_gradients(losses_T, self.parts.shared))))
        self._seen += 1

    def statistics(self) -> dict[str, float]:
        """Give the mean ``cosine/<task>/<task>`` since the last call, to be read once an epoch."""
        return self._means.take()
