"""Fits calibration maps on held-out rows, for heads whose loss made scores of what looks like probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.calibration import Calibration, Identity, Platt

__all__ = ["fit_platt"]

_EDGE = 1e-6
_STEPS = 50
_RIDGE = 1e-6


def fit_platt(labels: NDArray[Any], scores: NDArray[Any]) -> Calibration:
    """Fit ``sigmoid(slope * logit(score) + intercept)`` by Newton's method (Platt, 1999).

    Args:
        labels: 0 or 1, ``[N]``, NaN where not defined.
        scores: In (0, 1), ``[N]``.

    Returns:
        The map; the identity where one class alone is there or the slope would turn the order round.
    """
    defined = np.isfinite(labels)
    y, p = labels[defined].astype(np.float64), np.clip(scores[defined].astype(np.float64), _EDGE, 1 - _EDGE)
    if not len(y) or y.min() == y.max():
        return Identity()
    x = np.stack([np.log(p / (1 - p)), np.ones_like(p)], axis=1)
    beta = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        q = 1.0 / (1.0 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (q - y)
        hessian = (x * (q * (1 - q))[:, None]).T @ x + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta -= np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return Platt(slope=float(beta[0]), intercept=float(beta[1])) if beta[0] > 0 else Identity()
