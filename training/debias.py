"""Takes the bias out of durations, on held-out rows.

``expm1`` of a mean of logs is no mean of seconds: by Jensen's inequality it is too small, by 20 to 40 % on the
public sets. Smearing multiplies by the mean of ``exp(residual)`` and assumes nothing of the residuals' distribution
(N. Duan, JASA 78, 1983, https://doi.org/10.1080/01621459.1983.10478017); the lognormal correction assumes that they
are normal; the isotonic map learns any rising correction (Zadrozny & Elkan, KDD 2002,
https://doi.org/10.1145/775047.775151).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.durations import Debias, Isotonic, LogNormal, NoDebias, Smearing
from training.config import DebiasKind

__all__ = ["default_debias", "fit_debias", "isotonic_map", "lognormal_variance", "smearing_factor"]

Array = NDArray[Any]
_CORNERS = 64
_BIN_ROWS = 20
_STEEPEST = 5.0
_UNBIASED = {"wlr", "cread", "transun"}


def default_debias(objective: str) -> DebiasKind:
    """Name what an objective's seconds need: nothing where the objective is a mean of seconds by its own making."""
    return "none" if objective in _UNBIASED else "smearing"


def fit_debias(kind: DebiasKind, seconds: Array, naive: Array) -> Debias:
    """Fit one kind of debiasing.

    Args:
        seconds: Truth ``[N]``, NaN where there is none.
        naive: Seconds as the objective gives them, ``[N]``.

    Returns:
        What was fitted; :class:`NoDebias` when no row has a duration.
    """
    defined = np.isfinite(seconds)
    truth, given = seconds[defined].astype(np.float64), naive[defined].astype(np.float64)
    if kind == "none" or not len(truth):
        return NoDebias()
    if kind == "lognormal":
        return LogNormal(variance=lognormal_variance(truth, given))
    if kind == "isotonic":
        return isotonic_map(truth, given)
    return Smearing(factor=smearing_factor(truth, given))


def smearing_factor(seconds: Array, naive: Array) -> float:
    """Give the factor s with which ``(1 + naive) * s - 1`` has the right total.

    A weighted form of Duan's mean: rows weigh as much as they are long, so that the held-out total is met
    exactly, ``s = sum(1 + seconds) / sum(1 + naive)``. Where the residuals do not depend on the
    prediction the two are the same.
    """
    return float(np.sum(1.0 + seconds) / np.sum(1.0 + naive))


def lognormal_variance(seconds: Array, naive: Array) -> float:
    """Give the variance v with which ``(1 + naive) exp(v / 2)`` has the mean of ``1 + seconds``, for normal residuals.

    Of an objective that predicts the mean logarithm, this is the variance of its residuals; of one that predicts
    something else, twice their mean comes to it. At least 0: what is too long already is left as it is.
    """
    residuals = np.log1p(seconds) - np.log1p(naive)
    return max(0.0, float(2.0 * residuals.mean() + residuals.var()))


def isotonic_map(seconds: Array, naive: Array) -> Isotonic:
    """Fit the rising map from *naive* to *seconds* with the least squared error, thinned to a few dozen corners.

    Pool adjacent violators over bins of about equal rows; equal predictions are never parted. A bin's corner stands
    at the means of its rows. Where the map would rise steeply, corners become one, for it would multiply the last
    digits in which two runtimes differ as it does noise; and at last all is scaled, so that the total of these rows
    is met.
    """
    x, y, rows = _binned(seconds, naive)
    x, y = _gentle(x, _pool(list(zip(y.tolist(), rows.tolist(), strict=True))), rows)
    served = float(np.interp(naive, x, y).sum())
    y = y * (float(seconds.sum()) / served) if served > 0 else y
    return Isotonic(points=tuple(x.tolist()), seconds=tuple(y.tolist()))


def _binned(seconds: Array, naive: Array) -> tuple[Array, Array, Array]:
    """Give mean prediction, mean truth and rows of bins with about equal rows, by rising prediction."""
    values, place, counts = np.unique(naive, return_inverse=True, return_counts=True)
    bins = max(1, min(_CORNERS, len(naive) // _BIN_ROWS))
    middle = np.cumsum(counts) - counts / 2.0
    _, bin_of_value = np.unique(np.floor(middle * bins / len(naive)), return_inverse=True)
    rows = np.bincount(bin_of_value, weights=counts)
    x = np.bincount(bin_of_value, weights=values * counts) / rows
    return x, np.bincount(bin_of_value[place], weights=seconds) / rows, rows


def _gentle(x: Array, y: Array, rows: Array) -> tuple[Array, Array]:
    """Join corners until log1p(y) rises at most :data:`_STEEPEST` times as fast as log1p(x)."""
    kept: list[tuple[float, float, float]] = []
    for corner in zip(x.tolist(), y.tolist(), rows.tolist(), strict=True):
        kept.append(corner)
        while len(kept) > 1 and _is_steep(kept[-2], kept[-1]):
            (xa, ya, na), (xb, yb, nb) = kept[-2:]
            n = na + nb
            kept[-2:] = [((xa * na + xb * nb) / n, (ya * na + yb * nb) / n, n)]
    return np.array([x for x, _, _ in kept]), np.array([y for _, y, _ in kept])


def _is_steep(low: tuple[float, float, float], high: tuple[float, float, float]) -> bool:
    run, rise = np.log1p(high[0]) - np.log1p(low[0]), np.log1p(high[1]) - np.log1p(low[1])
    return bool(high[0] <= low[0] or rise > _STEEPEST * run)


def _pool(blocks: list[tuple[float, float]]) -> Array:
    """Pool adjacent violators: (mean, weight) blocks in, one not falling value a block out."""
    stack: list[tuple[float, float, int]] = []
    for mean, weight in blocks:
        stack.append((mean, weight, 1))
        while len(stack) > 1 and stack[-2][0] > stack[-1][0]:
            (a, wa, na), (b, wb, nb) = stack[-2], stack[-1]
            stack[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return np.concatenate([np.full(count, mean) for mean, _, count in stack])
