"""Information selection: for each task, how much it takes of each channel - fields, experts or hidden units.

After the field-level and cell-level sparse connections of K. Ding et al., "MSSM: A Multiple-level Sparse Sharing
Model for Efficient Multi-Task Learning", SIGIR 2021 (https://doi.org/10.1145/3404835.3463022), and the survey of
forms in our ``training.md`` §2.13. A mask here belongs to a task and is the same for every row, so it can be read
as a report of what the task uses. Gates that look at the row, as in GateNet (T. Huang et al., 2020,
https://arxiv.org/abs/2007.03519) and FiBiNET (T. Huang et al., RecSys 2019, https://arxiv.org/abs/1905.09433), are
the subject of :mod:`training.models.cea`.

Equations, for K channels and task k with weights l_k, 0 at the start::

    softmax         m_k = K softmax(l_k)         channels compete for a fixed sum
    sigmoid2        m_k = 2 sigmoid(l_k)         each channel for itself, between 0 and 2
    hard_concrete   m_k = z(log a_k)             each switched between 0 and 1; :mod:`training.models.hard_concrete`

All start at 1: the third in serving, since in training its draws close a channel now and then. Parameters: T K.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from training.models.hard_concrete import HardConcrete

__all__ = ["MaskKind", "TaskInfoSelect"]

MaskKind = Literal["softmax", "sigmoid2", "hard_concrete"]

_OPEN = 3.0
"""log a at the start: 1 in serving, and 1 draw of 100 closes the channel."""


class TaskInfoSelect(nn.Module):
    """Masks of T tasks over K channels.

    Args:
        tasks: T.
        channels: K.
        kind: How weights become a mask.
    """

    def __init__(self, tasks: int, channels: int, kind: MaskKind) -> None:
        super().__init__()
        self.tasks, self.channels, self.kind = tasks, channels, kind
        self.switches = HardConcrete(channels, tasks, _OPEN) if kind == "hard_concrete" else None
        self.logits_TK = None if kind == "hard_concrete" else nn.Parameter(torch.zeros(tasks, channels))

    def forward(self) -> Tensor:
        """Give the masks, ``[T, K]``."""
        if self.logits_TK is None:
            assert self.switches is not None  # noqa: S101 - one of the two is there
            return torch.as_tensor(self.switches())
        if self.kind == "softmax":
            return self.channels * torch.softmax(self.logits_TK, dim=1)
        return 2.0 * torch.sigmoid(self.logits_TK)

    def expected_open(self) -> Tensor:
        """Give the expected count of channels that are not closed, over all tasks; all where none can be closed."""
        if self.switches is None:
            return torch.tensor(float(self.tasks * self.channels))
        return self.switches.expected_open()
