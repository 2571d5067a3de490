"""What a balancer is, and the registry of them.

Two conventions hold for all. A task's *static* weight states a preference, so methods that look at losses look at
raw ones and multiply with it afterwards. And a factor of 1 for every task is the plain weighted sum: where tasks
agree, each balancer takes the step that ``static`` takes, so that a learning rate keeps its meaning.

Tensor letters: T tasks, P entries of all shared parameters.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from contract.frozen import Frozen
from training.balancing.means import Means
from training.errors import InvalidOption
from training.options import NoOptions, validated

__all__ = [
    "Balancer",
    "BalancerParts",
    "balancers",
    "checked_options",
    "make_balancer",
    "register_balancer",
]


@dataclass(frozen=True, kw_only=True)
class BalancerParts:
    """What a balancer works with.

    Args:
        tasks: Names, in the order of the losses.
        weights: Static factor of each task; 1 where not given.
        shared: Dense parameters that tasks share; embedding tables are not among them.
        own: All other parameters.
        seed: Of the run; a balancer that draws at random draws from a generator of its own.
    """

    tasks: tuple[str, ...]
    weights: Mapping[str, float]
    shared: Sequence[nn.Parameter]
    own: Sequence[nn.Parameter]
    seed: int = 0


class Balancer(ABC):
    """Turns the losses of one batch into gradients.

    A loss of exactly 0 is that of a batch in which no row has the task's label; no method may learn from it.

    Args:
        parts: What it works with.
        options: Its own, checked.
    """

    Options: ClassVar[type[Frozen]] = NoOptions

    def __init__(self, parts: BalancerParts, options: Frozen) -> None:
        self.parts = parts
        self.options = options
        self.weights_T = torch.tensor([parts.weights.get(task, 1.0) for task in parts.tasks])
        self.means = Means()

    def parameters(self) -> list[nn.Parameter]:
        """Give what the balancer itself learns by the trainer's optimiser; nothing by default."""
        return []

    @abstractmethod
    def backward(self, losses_T: Tensor, penalty: Tensor | None) -> None:
        """Add this batch's gradients to every parameter's ``.grad``, which the trainer has cleared.

        Args:
            losses_T: Losses, ``[T]``, with their graph.
            penalty: A scalar that is added to whatever the losses become; None where there is none.
        """

    def after_step(self, losses_again: Callable[[], Tensor]) -> None:  # noqa: B027 - most have nothing to do
        """React to the step just taken; *losses_again* gives the same batch's losses after it."""

    def start_epoch(self, mean_losses: Mapping[str, float] | None) -> None:  # noqa: B027 - as above
        """Hear the mean training losses of the epoch before; None before the first."""

    def statistics(self) -> dict[str, float]:
        """Give what was measured since the last call, to be read once an epoch.

        Returns:
            ``weight/<task>``: mean effective weight, static factor included, over the batches that had its label;
            from methods that compute them also ``cosine/<task>/<task>`` of gradients on the shared parameters.
        """
        return self.means.take()

    def send_back(self, losses_T: Tensor, factors_T: Tensor, penalty: Tensor | None) -> None:
        """Send the sum of losses times factors times static weights back, and the penalty."""
        total = (losses_T * factors_T * self.weights_T).sum()
        (total if penalty is None else total + penalty).backward()  # type: ignore[no-untyped-call]

    def note_factors(self, losses_T: Tensor, factors_T: Tensor) -> None:
        """Add this batch's effective weights to the statistics."""
        weights = (factors_T.detach() * self.weights_T).tolist()
        has_labels = (losses_T.detach() != 0).tolist()
        named = zip(self.parts.tasks, weights, has_labels, strict=True)
        self.means.add({f"weight/{task}": weight for task, weight, counts in named if counts})


_BALANCERS: dict[str, type[Balancer]] = {}


def register_balancer(name: str) -> Callable[[type[Balancer]], type[Balancer]]:
    """Enter a balancer under *name*.

    Raises:
        ValueError: When the name is taken.
    """

    def enter(balancer: type[Balancer]) -> type[Balancer]:
        if name in _BALANCERS:
            msg = f"balancer {name!r} is registered twice"
            raise ValueError(msg)
        _BALANCERS[name] = balancer
        return balancer

    return enter


def balancers() -> dict[str, type[Balancer]]:
    """Give every balancer by name, sorted."""
    return dict(sorted(_BALANCERS.items()))


def checked_options(name: str, options: Mapping[str, Any]) -> Frozen:
    """Check a balancer's name and options.

    Raises:
        InvalidOption: When there is no such balancer or option.
    """
    if name not in _BALANCERS:
        raise InvalidOption(f"there is no balancer {name!r}", fix=f"known: {', '.join(balancers())}")
    return validated(_BALANCERS[name].Options, options, owner=name)


def make_balancer(name: str, options: Mapping[str, Any], parts: BalancerParts) -> Balancer:
    """Make a balancer.

    Raises:
        InvalidOption: When there is no such balancer or option, or a weight is given to a task that is not there.
    """
    checked = checked_options(name, options)
    if unknown := sorted(set(parts.weights) - set(parts.tasks)):
        raise InvalidOption(f"there is no task {unknown[0]!r} to weigh", fix=f"tasks: {', '.join(parts.tasks)}")
    return _BALANCERS[name](parts, checked)
