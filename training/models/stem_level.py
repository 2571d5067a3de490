"""A level of STEM-Net: all experts forward, and a task's own and the shared ones backward.

Source, equations and shapes: see :mod:`training.models.stem`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.models.expert_groups import GroupedExperts, GroupedGates
from training.models.extraction import ExtractionOptions, LevelSizes
from training.models.gating import GateSoftmax

__all__ = ["StemGates", "StemLevel"]


class StemGates(ExtractionOptions):
    """Options of STEM-Net's experts and gates.

    Args:
        gate_hidden: Widths of the gates' hidden layers; none makes the gates linear, and cheaper.
    """

    gate_hidden: tuple[int, ...] = (128, 64)


class StemLevel(nn.Module):
    """A level over T + 1 inputs: those of the tasks, then the shared one.

    Args:
        read: Makes the layer that reads so many of the inputs, from their number and its output width.
    """

    mine_TX: Tensor

    def __init__(self, read: Callable[..., nn.Module], sizes: LevelSizes, gates: StemGates, *, is_last: bool) -> None:
        super().__init__()
        tasks, hidden, dropout = sizes.tasks, sizes.hidden, sizes.dropout
        of_own, of_shared = read(tasks, out=sizes.own * hidden[0]), read(1, out=sizes.shared * hidden[0])
        self.own = GroupedExperts(of_own, tasks, sizes.own, hidden, dropout)
        self.shared = GroupedExperts(of_shared, 1, sizes.shared, hidden, dropout)
        self.task_gates = GroupedGates(read, tasks, gates.gate_hidden, sizes.all)
        self.shared_gate = None if is_last else GroupedGates(read, 1, gates.gate_hidden, sizes.all)
        self.softmax = GateSoftmax(gates)
        self.register_buffer("mine_TX", torch.eye(tasks).repeat_interleave(sizes.own, 1), persistent=False)

    def forward(self, *inputs: Tensor, **rest: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mixtures ``[N, T, H]``, the shared one behind them but in the last level, and the tasks' weights.

        Args:
            inputs: Each ``[T + 1, …]``.
            rest: What the layers that read them take besides.
        """
        shared = [x[-1:] for x in inputs]
        own_NXH, shared_NSH = self.own(*(x[:-1] for x in inputs), **rest), self.shared(*shared, **rest)
        weights_NTE: Tensor = self.softmax(self.task_gates(*(x[:-1] + x[-1:] for x in inputs), **rest))
        split = own_NXH.shape[1]
        mine_NTX, others_NTX = (weights_NTE[..., :split] * part for part in (self.mine_TX, 1 - self.mine_TX))
        taught_NTH = torch.matmul(mine_NTX, own_NXH) + torch.matmul(weights_NTE[..., split:], shared_NSH)
        mixed_NGH = taught_NTH + torch.matmul(others_NTX, own_NXH.detach())
        if self.shared_gate is not None:
            all_N1E = self.softmax(self.shared_gate(*shared, **rest))
            shared_N1H = torch.matmul(all_N1E[..., :split], own_NXH) + torch.matmul(all_N1E[..., split:], shared_NSH)
            mixed_NGH = torch.cat([mixed_NGH, shared_N1H], dim=1)
        return mixed_NGH, weights_NTE
