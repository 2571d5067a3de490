"""How a duration is learnt, and how the bias of that is taken out again: part of a task's description.

The graph does the arithmetic (:mod:`training.heads`); these documents say which, with the numbers that were fitted.
"""

from typing import Annotated, Literal

from pydantic import Field

from contract.frozen import Frozen

__all__ = [
    "Cread",
    "D2q",
    "Debias",
    "Isotonic",
    "LogHuber",
    "LogMse",
    "LogNormal",
    "NoDebias",
    "Objective",
    "Smearing",
    "Transun",
    "Wlr",
    "Ziln",
]


class LogMse(Frozen):
    """Squared error of log1p(seconds)."""

    kind: Literal["log_mse"] = "log_mse"


class LogHuber(Frozen):
    """Huber's error of log1p(seconds): linear beyond *delta*."""

    kind: Literal["log_huber"] = "log_huber"
    delta: float = Field(default=1.0, gt=0)


class Ziln(Frozen):
    """Zero-inflated lognormal: a chance of more than nothing, and a lognormal of how much."""

    kind: Literal["ziln"] = "ziln"


class Wlr(Frozen):
    """Weighted logistic regression: odds that are the expected seconds."""

    kind: Literal["wlr"] = "wlr"


class D2q(Frozen):
    """Quantiles of the duration within groups of equal item length.

    Args:
        by: Number field that makes the groups, such as the item's length; None makes one group.
        groups: Groups at most.
        column: Position of *by* in the candidate's dense array, once fitted.
        edges: Inner edges of the groups in the field's scaled unit, rising; fitted.
        seconds: Of each group, the seconds at evenly spaced quantiles from 0 to 1; fitted.
    """

    kind: Literal["d2q"] = "d2q"
    by: str | None = None
    groups: int = Field(default=10, ge=1)
    column: int | None = None
    edges: tuple[float, ...] = ()
    seconds: tuple[tuple[float, ...], ...] = ()


class Cread(Frozen):
    """Chances of lasting longer than each of some thresholds, summed to seconds.

    Args:
        bins: Thresholds.
        thresholds: In seconds, rising from 0; fitted.
    """

    kind: Literal["cread"] = "cread"
    bins: int = Field(default=20, ge=2)
    thresholds: tuple[float, ...] = ()


class Transun(Frozen):
    """A logarithm beside a second output that learns the factor by which its inverse is too short.

    Args:
        epsilon: Seconds added before dividing.
    """

    kind: Literal["transun"] = "transun"
    epsilon: float = Field(default=1.0, gt=0)


Objective = Annotated[LogMse | LogHuber | Ziln | Wlr | D2q | Cread | Transun, Field(discriminator="kind")]


class NoDebias(Frozen):
    """Leaves the seconds as the objective gives them."""

    kind: Literal["none"] = "none"


class LogNormal(Frozen):
    """``(1 + seconds) * exp(variance / 2) - 1``: right if residuals of the logarithm are normal."""

    kind: Literal["lognormal"] = "lognormal"
    variance: float = Field(ge=0)


class Smearing(Frozen):
    """``(1 + seconds) * factor - 1`` (Duan, JASA 1983), whatever the residuals' distribution."""

    kind: Literal["smearing"] = "smearing"
    factor: float = Field(gt=0)


class Isotonic(Frozen):
    """A rising, piecewise linear map, given by its corners; constant beyond the first and the last.

    Args:
        points: Seconds as the objective gives them, strictly rising.
        seconds: Seconds to answer at those points, not falling.
    """

    kind: Literal["isotonic"] = "isotonic"
    points: tuple[float, ...] = Field(min_length=1)
    seconds: tuple[float, ...] = Field(min_length=1)


Debias = Annotated[NoDebias | LogNormal | Smearing | Isotonic, Field(discriminator="kind")]
