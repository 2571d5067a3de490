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
    "FittedField",
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


class FittedField:
    """Marks a field that training fits, in contrast to one that a user chooses."""


_FITTED = FittedField()
_Floats = tuple[float, ...]


class LogMse(Frozen):
    """Squared error of log1p(seconds).

    Args:
        mean: Of log1p(seconds) of the training rows: what an output of 0 stands for; fitted.
    """

    kind: Literal["log_mse"] = "log_mse"
    mean: Annotated[float, _FITTED] = 0.0


class LogHuber(Frozen):
    """Huber's error of log1p(seconds): linear beyond *delta*.

    Args:
        delta: In log-seconds.
        mean: As of :class:`LogMse`; fitted.
    """

    kind: Literal["log_huber"] = "log_huber"
    delta: float = Field(default=1.0, gt=0)
    mean: Annotated[float, _FITTED] = 0.0


class Ziln(Frozen):
    """Zero-inflated lognormal: a chance of more than nothing, and a lognormal of how much.

    Args:
        max_sigma: Largest standard deviation of the logarithm; the mean has a factor ``exp(sigma² / 2)``.
        rate: Share of the training rows above 0 s; fitted.
        mean: Of the logarithm of those rows; fitted.
        std: Of the logarithm of those rows; fitted.
    """

    kind: Literal["ziln"] = "ziln"
    max_sigma: float = Field(default=3.0, ge=0.1, le=5.0)
    rate: Annotated[float, _FITTED] = Field(default=0.5, gt=0, lt=1)
    mean: Annotated[float, _FITTED] = 0.0
    std: Annotated[float, _FITTED] = Field(default=1.0, gt=0)


class Wlr(Frozen):
    """Weighted logistic regression: odds that are the expected seconds.

    Args:
        scale: Mean seconds of the training rows, which the odds are relative to; fitted.
    """

    kind: Literal["wlr"] = "wlr"
    scale: Annotated[float, _FITTED] = Field(default=1.0, gt=0)


class D2q(Frozen):
    """Quantiles of the duration within groups of equal item length.

    Args:
        by: Number field of the candidate that makes the groups, such as the item's length; None makes one group.
        groups: Groups at most.
        column: Position of *by* in the candidate's dense array; fitted.
        width: Columns that *by* takes there; their sum makes the groups; fitted.
        edges: Inner edges of the groups in the field's scaled unit, rising; a group ends at its edge; fitted.
        seconds: Of each group, the seconds at evenly spaced quantiles from 0 to 1; fitted.
    """

    kind: Literal["d2q"] = "d2q"
    by: str | None = None
    groups: int = Field(default=10, ge=1)
    column: Annotated[int | None, _FITTED] = None
    width: Annotated[int, _FITTED] = 1
    edges: Annotated[_Floats, _FITTED] = ()
    seconds: Annotated[tuple[_Floats, ...], _FITTED] = ()


class Cread(Frozen):
    """Chances of lasting longer than each of some thresholds, summed to seconds.

    Args:
        bins: Thresholds at most; equal ones are one.
        restore_weight: Factor of the loss of the summed seconds.
        order_weight: Factor of the penalty on chances that rise with their threshold.
        delta: Error of the summed seconds beyond which its loss is linear, in standard deviations of the seconds.
        thresholds: In seconds, rising from 0; fitted.
        widths: Seconds between a threshold and the next that rows longer than it cover in the mean; fitted.
        log_widths: The same in log1p(seconds); fitted.
        rates: Share of the training rows longer than each threshold; fitted.
        std: Of the training rows, seconds; fitted.
    """

    kind: Literal["cread"] = "cread"
    bins: int = Field(default=20, ge=2)
    restore_weight: float = Field(default=1.0, ge=0)
    order_weight: float = Field(default=0.1, ge=0)
    delta: float = Field(default=5.0, gt=0)
    thresholds: Annotated[_Floats, _FITTED] = ()
    widths: Annotated[_Floats, _FITTED] = ()
    log_widths: Annotated[_Floats, _FITTED] = ()
    rates: Annotated[_Floats, _FITTED] = ()
    std: Annotated[float, _FITTED] = Field(default=1.0, gt=0)


class Transun(Frozen):
    """A logarithm beside a second output that learns the factor by which its inverse is too short.

    Args:
        epsilon: Seconds added before dividing.
        mean: As of :class:`LogMse`; fitted.
        std: Standard deviation beside it; fitted.
        ratio_mean: Of ``seconds / (expm1(mean) + epsilon)`` over the training rows; fitted.
        ratio_std: Of the same; fitted.
    """

    kind: Literal["transun"] = "transun"
    epsilon: float = Field(default=1.0, gt=0)
    mean: Annotated[float, _FITTED] = 0.0
    std: Annotated[float, _FITTED] = Field(default=1.0, gt=0)
    ratio_mean: Annotated[float, _FITTED] = 1.0
    ratio_std: Annotated[float, _FITTED] = Field(default=1.0, gt=0)


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
