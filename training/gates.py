"""What a model's gates settled on, over a whole split: who uses which expert, and which expert is used by nobody.

The question that every user of a mixture asks, and that most code cannot answer (DeepCTR#512).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from contract.frozen import Frozen
from training.data.batches import batches
from training.data.columns import EncodedSplit
from training.inputs import as_tensors
from training.models.base import MultiTaskModel
from training.models.gating import Gated

__all__ = ["DEAD_BELOW", "GateStatistics", "TaskGate", "gate_statistics"]

DEAD_BELOW = 0.01
"""An expert is dead where its mean weight is below this in every task that may use it."""

_REQUESTS = 512


class TaskGate(Frozen):
    """One task's gate, in means over the rows of a split.

    Args:
        mean_weights: By expert; they sum to 1.
        entropy_nats: Of a row's weights.
        entropy_share: The same as a share of log E: 1 is a plain mean of the experts, 0 a choice of one.
    """

    mean_weights: dict[str, float]
    entropy_nats: float
    entropy_share: float


class GateStatistics(Frozen):
    """All gates of a model.

    Args:
        dead_experts: Names of those that no task uses; see :data:`DEAD_BELOW`.
    """

    tasks: dict[str, TaskGate]
    dead_experts: tuple[str, ...]


def gate_statistics(model: MultiTaskModel, split: EncodedSplit) -> GateStatistics | None:
    """Look at the gates on every row of a split, as they are served (no dropout).

    Returns:
        None where the model has no gates.
    """
    if not isinstance(model, Gated):
        return None
    names = model.expert_names
    sums = {task: _Sums(torch.zeros(len(each), dtype=torch.float64)) for task, each in names.items()}
    model.eval()
    with torch.no_grad():
        for batch in batches(split, requests=_REQUESTS):
            for task, weights_NE in model.gates(as_tensors(batch.inputs)).items():
                sums[task].add(weights_NE.double())
    tasks = {task: _task_gate(names[task], each) for task, each in sums.items()}
    return GateStatistics(tasks=tasks, dead_experts=_dead(tasks))


@dataclass
class _Sums:
    """Sums over rows, so that batches of any size count by their rows."""

    weights_E: Tensor
    entropy: float = 0.0
    rows: int = 0

    def add(self, weights_NE: Tensor) -> None:
        self.weights_E = self.weights_E + weights_NE.sum(dim=0)
        self.entropy -= float(torch.xlogy(weights_NE, weights_NE).sum())
        self.rows += len(weights_NE)


def _task_gate(names: tuple[str, ...], sums: _Sums) -> TaskGate:
    rows = max(1, sums.rows)
    means, entropy, most = (sums.weights_E / rows).tolist(), sums.entropy / rows, math.log(len(names))
    return TaskGate(
        mean_weights=dict(zip(names, means, strict=True)),
        entropy_nats=entropy,
        entropy_share=entropy / most if most > 0 else 1.0,
    )


def _dead(tasks: dict[str, TaskGate]) -> tuple[str, ...]:
    most: dict[str, float] = {}
    for gate in tasks.values():
        for expert, weight in gate.mean_weights.items():
            most[expert] = max(weight, most.get(expert, 0.0))
    return tuple(expert for expert, weight in most.items() if weight < DEAD_BELOW)
