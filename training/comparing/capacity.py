"""Same capacity: architectures made equally large by the widths of their hidden layers."""

from collections.abc import Callable
from itertools import takewhile

from torch import nn

from training.models.base import ModelConfig
from training.optim import tables_of

__all__ = ["TOLERANCE", "dense_parameters", "widened"]

TOLERANCE = 0.10
"""Two networks are of the same capacity where their dense parameters differ by no more than this share."""

_WIDEST = 1 << 14


def dense_parameters(model: nn.Module) -> int:
    """Count the weights outside embedding tables: those are as large as the vocabularies, whatever the architecture."""
    tables = {id(table) for table in tables_of(model)}
    return sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in tables)


def widened(count: Callable[[ModelConfig], int], config: ModelConfig, budget: int) -> ModelConfig:
    """Scale all hidden widths together until *count* is as near to *budget* as whole widths allow.

    Args:
        count: Parameters of the network that a config makes; must grow with the widths.
        config: The proportions of the widths, and all other sizes, which stay.
    """
    narrow = _largest_within(count, config, budget)
    nearest = (_of_width(config, width) for width in (narrow, narrow + 1))
    return min(nearest, key=lambda scaled: abs(count(scaled) - budget))


def _largest_within(count: Callable[[ModelConfig], int], config: ModelConfig, budget: int) -> int:
    """Give the largest first width that does not go over the budget; 1 at least."""

    def fits(width: int) -> bool:
        return count(_of_width(config, width)) <= budget

    doublings = [2**power for power in range(_WIDEST.bit_length())]
    low = max((width for width in takewhile(fits, doublings)), default=1)
    high = low * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _of_width(config: ModelConfig, width: int) -> ModelConfig:
    """Give the config whose first hidden layer has *width* units and the others their share."""
    scale = width / config.hidden[0]
    return config.model_copy(update={"hidden": tuple(max(1, round(each * scale)) for each in config.hidden)})
