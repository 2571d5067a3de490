"""Fits calibration maps on held-out rows, for heads whose loss made scores of what looks like probabilities.

J. Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods", 1999;
its targets are drawn in from 0 and 1 by one row each, so that separable rows do not ask for an infinite slope.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.calibration import Calibration, Identity, Platt

__all__ = ["fit_platt"]

Array = NDArray[Any]
_EDGE = 1e-7
_STEPS = 100
_RIDGE = 1e-9
_DONE = 1e-12


def fit_platt(labels: Array, scores: Array) -> Calibration:
    """Fit ``sigmoid(slope * logit(score) + intercept)`` by least cross-entropy.

    Args:
        labels: 0 or 1, ``[N]``, NaN where not defined.
        scores: In (0, 1), ``[N]``.

    Returns:
        The map; with a slope of 1 where the best slope would turn the order round, and the identity where there is
        one class alone.
    """
    defined = np.isfinite(labels)
    y, p = labels[defined].astype(np.float64), np.clip(scores[defined].astype(np.float64), _EDGE, 1 - _EDGE)
    if not len(y) or y.min() == y.max():
        return Identity()
    logit, target = np.log(p / (1 - p)), _drawn_in(y)
    # Standardised, so that slope and intercept are nearly independent of each other.
    mean, spread = logit.mean(), max(float(logit.std()), 1e-6)
    scaled = np.stack([(logit - mean) / spread, np.ones_like(logit)], axis=1)
    slope, intercept = _least_cross_entropy(scaled, target, start=np.array([spread, mean]))
    if slope > 0:
        return Platt(slope=float(slope / spread), intercept=float(intercept - slope / spread * mean))
    shift = _least_cross_entropy(np.ones((len(y), 1)), target, start=np.array([-mean]), offset=logit)
    return Platt(slope=1.0, intercept=float(shift[0]))


def _drawn_in(y: Array) -> Array:
    positives, negatives = y.sum(), len(y) - y.sum()
    return np.asarray(np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2)))


def _least_cross_entropy(x: Array, target: Array, *, start: Array, offset: Array | float = 0.0) -> Array:
    """Find the coefficients of a logistic regression by Newton's method, halving steps that overshoot.

    Args:
        x: ``[N, K]``.
        target: Probabilities, ``[N]``.
        start: ``[K]``.
        offset: Added to the logits, ``[N]``.
    """
    beta = start
    for _ in range(_STEPS):
        q = np.exp(-np.logaddexp(0.0, -(x @ beta + offset)))
        gradient = x.T @ (q - target) / len(x)
        hessian = (x * (q * (1 - q))[:, None]).T @ x / len(x) + _RIDGE * np.eye(len(beta))
        step, loss = np.linalg.solve(hessian, gradient), _cross_entropy(x @ beta + offset, target)
        if gradient @ step < _DONE:
            break
        while _cross_entropy(x @ (beta - step) + offset, target) > loss:
            step = step / 2
        beta = beta - step
    return beta


def _cross_entropy(logit: Array, target: Array) -> float:
    return float(np.mean(np.logaddexp(0.0, logit) - target * logit))
