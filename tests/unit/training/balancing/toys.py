"""A model small enough to reason about, and losses whose gradients are whatever a test wants."""

from dataclasses import dataclass

import torch
from torch import nn

from training.balancing.base import Balancer, BalancerParts, make_balancer

GRADIENT_METHODS = ("aligned_mtl", "cagrad", "gradvac", "imtl_g", "mgda", "nash_mtl", "pcgrad", "upgrad")
IDS = torch.tensor([0, 1, 1, 3])


class Toy(nn.Module):
    """Embedding → shared layer → one tower a task; the first task alone has a layer among the shared parameters."""

    def __init__(self, scales=(1.0, 30.0, 0.1)):
        super().__init__()
        torch.manual_seed(0)
        self.scales = scales
        self.table = nn.Embedding(5, 3, sparse=True)
        self.shared = nn.Linear(3, 4)
        self.private = nn.Linear(4, 4)
        self.unused = nn.Parameter(torch.ones(2, 2))
        self.towers = nn.ModuleList(nn.Linear(4, 1) for _ in scales)
        self.targets = torch.randn(len(scales), len(IDS))

    def losses(self, missing=()):
        """``[T]``; exactly 0, with a graph, for the tasks in *missing*."""
        hidden = torch.tanh(self.shared(self.table(IDS)))
        values = []
        for task, (tower, scale) in enumerate(zip(self.towers, self.scales, strict=True)):
            read = tower(hidden + self.private(hidden) if task == 0 else hidden)[:, 0]
            values.append(scale * ((read - self.targets[task]) ** 2).mean() * float(task not in missing))
        return torch.stack(values)

    def shared_parameters(self):
        return [*self.shared.parameters(), *self.private.parameters(), self.unused]

    def balancer(self, name, *, weights=None, seed=0, options=None):
        shared = self.shared_parameters()
        chosen = {id(parameter) for parameter in shared}
        parts = BalancerParts(
            tasks=tuple("abcdefgh"[: len(self.scales)]),
            weights=weights or {},
            shared=shared,
            own=[parameter for parameter in self.parameters() if id(parameter) not in chosen],
            seed=seed,
        )
        return make_balancer(name, options or {}, parts)

    def gradients(self, balancer, *, missing=(), penalty=None):
        """Run one backward pass; give every parameter's gradient by name, None where there is none."""
        self.zero_grad(set_to_none=True)
        balancer.backward(self.losses(missing), penalty)
        return {name: None if p.grad is None else p.grad.to_dense() for name, p in self.named_parameters()}

    def step(self, balancer, *, missing=(), lr=0.01):
        """Take one plain step as the trainer would."""
        self.gradients(balancer, missing=missing)
        with torch.no_grad():
            for parameter in [*self.parameters(), *balancer.parameters()]:
                if parameter.grad is not None:
                    parameter -= lr * parameter.grad.to_dense()
        balancer.after_step(lambda: self.losses(missing))

    def is_shared(self, name):
        return name.startswith(("shared", "private", "unused"))


@dataclass
class Linear:
    """Losses ``J theta + constant``: the gradient of loss k on the shared vector is row k of J."""

    theta: nn.Parameter
    rows: torch.Tensor
    balancer: Balancer

    @classmethod
    def make(cls, name, rows, *, weights=None, seed=0, options=None):
        rows = torch.as_tensor(rows, dtype=torch.float32)
        theta = nn.Parameter(torch.zeros(rows.shape[1]))
        tasks = tuple("abcdefgh"[: len(rows)])
        parts = BalancerParts(tasks=tasks, weights=weights or {}, shared=[theta], own=[], seed=seed)
        return cls(theta, rows, make_balancer(name, options or {}, parts))

    def direction(self):
        """Give the gradient that the balancer makes of the rows."""
        self.theta.grad = None
        self.balancer.backward(self.rows @ self.theta + 1.0, None)
        return self.theta.grad.double().numpy()


def direction(name, rows, **given):
    """Give the shared gradient that a fresh balancer makes of gradients ``[K, P]``."""
    return Linear.make(name, rows, **given).direction()
