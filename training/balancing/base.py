"""What a balancer is, and the registry of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from contract.frozen import Frozen
from training.errors import InvalidOption

__all__ = ["Balancer", "BalancerParts", "NoOptions", "balancers", "make_balancer", "register_balancer"]


class NoOptions(Frozen):
    """Options of a balancer that has none."""


@dataclass(frozen=True, kw_only=True)
class BalancerParts:
    """What a balancer works with.

    Args:
        tasks: Names, in the order of the losses.
        weights: Static factor of each task; every balancer multiplies the losses with it first.
        shared: Dense parameters that tasks share; embedding tables are not among them.
        own: All other parameters.
    """

    tasks: tuple[str, ...]
    weights: Mapping[str, float]
    shared: Sequence[nn.Parameter]
    own: Sequence[nn.Parameter]


class Balancer(ABC):
    """Turns the losses of one batch into gradients.

    Args:
        parts: What it works with.
        options: Its own, checked.
    """

    Options: ClassVar[type[Frozen]] = NoOptions

    def __init__(self, parts: BalancerParts, options: Frozen) -> None:
        self.parts = parts
        self.options = options
        self.weights_T = torch.tensor([parts.weights.get(task, 1.0) for task in parts.tasks])

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


def make_balancer(name: str, options: Mapping[str, Any], parts: BalancerParts) -> Balancer:
    """Make a balancer.

    Raises:
        InvalidOption: When there is no such balancer or option.
    """
    if name not in _BALANCERS:
        raise InvalidOption(f"there is no balancer {name!r}", fix=f"known: {', '.join(balancers())}")
    balancer = _BALANCERS[name]
    try:
        checked = balancer.Options.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(balancer.Options.model_fields) or "none"
        raise InvalidOption(f"option {where!r} of {name}: {first['msg']}", fix=f"its options are: {known}") from None
    return balancer(parts, checked)
