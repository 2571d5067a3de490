"""What every gated model shares: gate weights, their options, how they mix experts, and how a report sees them.

Shapes: logits and weights ``[..., E]`` over the experts that a gate may choose from; mixed ``[N, T, H]``.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.frozen import Frozen
from training.inputs import TensorInputs

__all__ = ["Blocks", "GateOptions", "GateSoftmax", "Gated", "group_names", "shared_names", "task_names"]


class GateOptions(Frozen):
    """How a gate's logits become weights; the defaults are the plain softmax of the papers.

    Args:
        gate_dropout: Chance of each expert to be left out of a row's mixture in training; the other weights are
            scaled to sum to 1 again (Zhao et al., "Recommending What Video to Watch Next", RecSys 2019,
            https://doi.org/10.1145/3298689.3346997, use 0.1). Raise it where gates settle on one expert.
        temperature: Divides the logits; above 1 the weights are more even.
    """

    gate_dropout: float = Field(default=0.0, ge=0, lt=1)
    temperature: float = Field(default=1.0, gt=0)


@runtime_checkable
class Gated(Protocol):
    """A model whose gates can be looked at; see :func:`training.gates.gate_statistics`."""

    @property
    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """Name, by task, the experts that its gate chooses from, in the order of the weights.

        An expert has the same name wherever it is chosen from: ``shared:<i>``, ``group:<g>:<i>`` or
        ``task:<name>:<i>``.
        """

    def gates(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give, by task, the weights of its last mixture, ``[N, E]``, rows summing to 1."""


class GateSoftmax(nn.Module):
    """``softmax(logits / temperature)``; in training, over the experts that gate dropout spares."""

    def __init__(self, options: GateOptions) -> None:
        super().__init__()
        self.temperature, self.dropout = options.temperature, options.gate_dropout

    def forward(self, logits: Tensor) -> Tensor:
        """Give weights over the last axis, of the logits' shape."""
        if self.temperature != 1.0:
            logits = logits / self.temperature
        if self.training and self.dropout > 0:
            # A softmax over the rest is the renormalised softmax, without dividing by a sum that may be 0.
            dropped = torch.rand_like(logits) < self.dropout
            dropped = dropped & ~dropped.all(dim=-1, keepdim=True)
            logits = logits.masked_fill(dropped, -torch.inf)
        return torch.softmax(logits, dim=-1)


class Blocks(nn.Module):
    """Places weights over the experts of one block among those of all blocks, 0 at the others.

    One product then mixes for all tasks, and a weight of 0 sends back a gradient of exactly 0.

    Args:
        owners: The block of each task (or of whatever mixes).
        count: Blocks.
    """

    mask: Tensor

    def __init__(self, owners: Sequence[int], count: int) -> None:
        super().__init__()
        mask_TB = torch.eye(count)[list(owners)]
        self.register_buffer("mask", mask_TB.unsqueeze(-1), persistent=False)

    def forward(self, weights_NTM: Tensor) -> Tensor:
        """Give ``[N, T, B·M]`` from each task's weights over the M experts of its block, ``[N, T, M]``."""
        return (weights_NTM.unsqueeze(2) * self.mask).flatten(2)


def shared_names(count: int) -> tuple[str, ...]:
    """Name the experts that every task may use."""
    return tuple(f"shared:{i}" for i in range(count))


def group_names(group: int, count: int) -> tuple[str, ...]:
    """Name the experts of one group of tasks."""
    return tuple(f"group:{group}:{i}" for i in range(count))


def task_names(tasks: Iterable[str], count: int) -> tuple[str, ...]:
    """Name the experts of each task in turn."""
    return tuple(f"task:{task}:{i}" for task in tasks for i in range(count))
