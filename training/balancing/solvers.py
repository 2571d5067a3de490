"""Small exact solvers over a Gram matrix of K gradients, for K up to a few dozen.

No cvxpy and no quadprog: every problem here is K by K and either a quadratic program over non-negative numbers or
the minimum of a self-concordant function.

Letters: K gradients, G their Gram matrix ``[K, K]``, positive semi-definite.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bargaining_weights",
    "conflict_averse_weights",
    "dual_cone_weights",
    "equal_projection_weights",
    "min_norm_weights",
    "nonnegative_qp",
]

Array = NDArray[Any]
# Gradients come in float32: what is nearer than this to being dependent is taken as dependent.
_DEPENDENT = 1e-6


def nonnegative_qp(q_KK: Array, c_K: Array) -> Array:
    """Minimise ``x'Qx / 2 - c'x`` over ``x >= 0`` by an active set.

    Lawson & Hanson's algorithm on the normal equations (R. Bro & S. de Jong, Journal of Chemometrics 11, 1997,
    https://doi.org/10.1002/(SICI)1099-128X(199709/10)11:5%3C393::AID-CEM483%3E3.0.CO;2-L). Q is positive
    semi-definite and c lies where the minimum exists: c'z = 0 wherever Qz = 0.
    """
    x_K = np.zeros(len(c_K))
    free_K = np.zeros(len(c_K), dtype=bool)
    tolerance = 1e-10 * max(float(np.abs(c_K).max()), 1e-300)
    for _ in range(10 * len(c_K)):
        slope_K = np.where(free_K, -np.inf, c_K - q_KK @ x_K)
        if slope_K.max() <= tolerance:
            break
        free_K[np.argmax(slope_K)] = True
        x_K, free_K = _solve_free(q_KK, c_K, x_K, free_K)
    return x_K


def _solve_free(q_KK: Array, c_K: Array, x_K: Array, free_K: Array) -> tuple[Array, Array]:
    """Minimise over the free coordinates, fixing at 0 those that would turn negative."""
    while free_K.any():
        wanted_K = np.zeros_like(x_K)
        wanted_K[free_K] = np.linalg.lstsq(q_KK[np.ix_(free_K, free_K)], c_K[free_K], rcond=None)[0]
        blocked_K = free_K & (wanted_K <= 0)
        if not blocked_K.any():
            return wanted_K, free_K
        steps_K = np.full(len(x_K), np.inf)
        steps_K[blocked_K] = x_K[blocked_K] / (x_K[blocked_K] - wanted_K[blocked_K] + 1e-300)
        first = int(np.argmin(steps_K))
        x_K = np.maximum(x_K + steps_K[first] * (wanted_K - x_K), 0.0)
        free_K = free_K & (np.arange(len(x_K)) != first)
        x_K[~free_K] = 0.0
    return np.zeros_like(x_K), free_K


def min_norm_weights(gramian_KK: Array) -> Array:
    """Give the weights of the shortest vector in the convex hull of the gradients; they sum to 1.

    Minimising ``x'Gx + (1 - sum x)^2`` over ``x >= 0`` gives a multiple of them: for a fixed sum the first term
    alone decides how it is shared.
    """
    scaled_KK = gramian_KK / np.diagonal(gramian_KK).mean()
    x_K = nonnegative_qp(scaled_KK + 1.0, np.ones(len(scaled_KK)))
    weights_K: Array = x_K / x_K.sum()
    return weights_K


def dual_cone_weights(gramian_KK: Array, u_K: Array) -> Array:
    """Give v for which ``sum v_k g_k`` is nearest to ``sum u_k g_k`` among all vectors that conflict with no g_k.

    The dual of that projection: minimise ``v'Gv`` over ``v >= u``.
    """
    weights_K: Array = u_K + nonnegative_qp(gramian_KK, -gramian_KK @ u_K)
    return weights_K


def conflict_averse_weights(gramian_KK: Array, c: float) -> Array:
    """Give the weights of the vector d that maximises ``min_k <g_k, d>`` within ``|d - g_0| <= c |g_0|``.

    g_0 is the mean gradient. With ``d = g_0 + sum x_k g_k`` the conditions of optimality are those of
    ``min x'Gx / 2 + x'G1/K`` over ``x >= 0`` with a given sum of x; the sum that brings d to the edge of the ball is
    found by false position. Where 0 lies in the gradients' hull, no vector serves all: if the ball reaches vectors that
    conflict with none, d is the one of those that is nearest to g_0.
    """
    size = len(gramian_KK)
    base_K = gramian_KK.mean(axis=1)
    radius, scale = c * np.sqrt(max(float(base_K.mean()), 0.0)), float(np.diagonal(gramian_KK).mean())

    def pushed(total: float) -> Array:
        return nonnegative_qp(gramian_KK + scale, scale * total - base_K)

    def beyond(total: float) -> float:
        x_K = pushed(total)
        return float(np.sqrt(max(float(x_K @ gramian_KK @ x_K), 0.0)) - radius)

    if radius <= 1e-12 * np.sqrt(scale):
        return np.full(size, 1.0 / size)
    low = float(base_K.min() / scale)
    weights_K: Array = 1.0 / size + pushed(_root(beyond, low, low + 1.0, 1e-9 * radius))
    return weights_K


def _root(rising: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Find where a function that is below 0 at *low* reaches 0, by false position (the Illinois rule).

    Returns:
        The last place tried below 0 where it does not get there within 1e6 of *low*.
    """
    start, at_low, at_high = low, rising(low), rising(high)
    while at_high < 0:
        low, at_low, high = high, at_high, start + 4.0 * (high - start)
        if high - start > 1e6:
            return low
        at_high = rising(high)
    for _ in range(60):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        at_middle = rising(middle)
        if abs(at_middle) <= tolerance:
            return middle
        if at_middle > 0:
            high, at_high, at_low = middle, at_middle, at_low / 2.0
        else:
            low, at_low, at_high = middle, at_middle, at_high / 2.0
    return low


def bargaining_weights(gramian_KK: Array) -> Array:
    """Give the positive weights a with ``G a = 1 / a``, up to a factor.

    They are where the gradient of ``a'Ga / 2 - sum log a_k`` is 0: a convex, self-concordant function, so damped
    Newton steps always arrive. The factor is chosen so that ``sum a_k |g_k| = sum |g_k|``.
    """
    norms_K = np.sqrt(np.diagonal(gramian_KK))
    # Gradients that cancel have no bargain: the ridge keeps their weights finite.
    cosines_KK = gramian_KK / np.outer(norms_K, norms_K) + 1e-8 * np.eye(len(norms_K))
    b_K = np.ones(len(norms_K))
    for _ in range(100):
        slope_K = cosines_KK @ b_K - 1.0 / b_K
        step_K = np.linalg.solve(cosines_KK + np.diag(b_K**-2.0), slope_K)
        decrement = float(np.sqrt(max(float(slope_K @ step_K), 0.0)))
        b_K = b_K - step_K / (1.0 + decrement if decrement > 0.25 else 1.0)
        if decrement < 1e-9:
            break
    return _of_static_length(b_K, norms_K)


def equal_projection_weights(gramian_KK: Array) -> Array:
    """Give the weights of a vector with the same positive projection on every unit gradient.

    With C the cosines, ``C b = 1`` and ``a_k = b_k / |g_k|``. The factor is chosen so that
    ``sum a_k |g_k| = sum |g_k|``: the sum of b is the squared length of ``sum b_k g_k / |g_k|``, hence positive.
    Where gradients are dependent and no such vector is there, projections are as equal as least squares makes them,
    and the vector shrinks to 0 as they oppose each other.
    """
    norms_K = np.sqrt(np.diagonal(gramian_KK))
    cosines_KK = gramian_KK / np.outer(norms_K, norms_K)
    b_K = np.linalg.pinv(cosines_KK, rcond=_DEPENDENT, hermitian=True) @ np.ones(len(norms_K))
    return _of_static_length(b_K, norms_K)


def _of_static_length(b_K: Array, norms_K: Array) -> Array:
    """Turn weights of unit gradients into weights of gradients whose pulls add up to those of the static sum."""
    # At least 1 wherever the problem has an answer; less only where dependent gradients leave none.
    weights_K: Array = b_K / norms_K * norms_K.sum() / max(float(b_K.sum()), 1.0)
    return weights_K
