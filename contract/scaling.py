"""Scalings: what the network reads of a number, in how many columns."""

from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from contract.arrays import FloatArray
from contract.frozen import Frozen

__all__ = [
    "LogStandard",
    "Piecewise",
    "Quantile",
    "Scaling",
    "Standard",
    "as_one_number",
    "scale",
    "scaled_width",
]

CLIP = 10.0


def _rising(points: tuple[float, ...]) -> tuple[float, ...]:
    if any(b <= a for a, b in pairwise(points)):
        msg = "points must rise strictly"
        raise ValueError(msg)
    return points


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Points = Annotated[tuple[_Finite, ...], Field(min_length=2), AfterValidator(_rising)]


class Standard(Frozen):
    """``(x - mean) / std``, clipped to ±10."""

    kind: Literal["standard"] = "standard"
    mean: float
    std: float = Field(gt=0)


class LogStandard(Frozen):
    """``(log1p(max(x, 0)) - mean) / std``, clipped to ±10."""

    kind: Literal["log"] = "log"
    mean: float
    std: float = Field(gt=0)


class Quantile(Frozen):
    """The share of training values at or below x, interpolated between *points*, stretched to [-1, 1]."""

    kind: Literal["quantile"] = "quantile"
    points: _Points


class Piecewise(Frozen):
    """One column a bin between neighbouring *points*: how far into the bin x is, 0 below it, 1 above it.

    A linear layer over the columns is a function of x that bends at every point. Gorishniy, Rubachev & Babenko,
    "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022, §3.1,
    https://arxiv.org/abs/2203.05556. Unlike theirs, the outer bins are clipped too, so that the network never sees
    a number outside those it was trained on.
    """

    kind: Literal["piecewise"] = "piecewise"
    points: _Points


Scaling = Annotated[Standard | LogStandard | Quantile | Piecewise, Field(discriminator="kind")]


def scaled_width(scaling: Scaling) -> int:
    """Count the columns that one number becomes."""
    return len(scaling.points) - 1 if isinstance(scaling, Piecewise) else 1


def scale(scaling: Scaling, raw: FloatArray) -> NDArray[np.float32]:
    """Bring raw values ``[N]`` to the range that the network was trained on, ``[N, scaled_width(scaling)]``."""
    if isinstance(scaling, Piecewise):
        return _binned(scaling.points, raw)
    if isinstance(scaling, Standard):
        scaled = (raw - scaling.mean) / scaling.std
    elif isinstance(scaling, LogStandard):
        scaled = (np.log1p(np.maximum(raw, 0.0)) - scaling.mean) / scaling.std
    else:
        scaled = np.interp(raw, scaling.points, np.linspace(-1.0, 1.0, len(scaling.points)))
    return np.asarray(np.clip(scaled, -CLIP, CLIP), dtype=np.float32).reshape(-1, 1)


def _binned(points: tuple[float, ...], raw: FloatArray) -> NDArray[np.float32]:
    # Clipped before the division: a tiny bin cannot overflow, and a full bin is exactly 1.
    low_T, high_T = np.array(points[:-1]), np.array(points[1:])
    inside_NT = np.clip(raw[:, None], low_T, high_T) - low_T
    return np.asarray(inside_NT / (high_T - low_T), dtype=np.float32)


def as_one_number(columns_NW: NDArray[Any]) -> NDArray[np.float32]:
    """Give one number a row that rises with the raw one, float32 ``[N]``, of the columns of a number field.

    The columns of a piecewise field sum up to how many of its bins lie below. All but one are 0 or 1, so that
    their sum in float64 does not depend on its order.
    """
    return np.asarray(np.sum(columns_NW, axis=1, dtype=np.float64), dtype=np.float32)
