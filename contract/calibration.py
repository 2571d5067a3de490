"""Maps from a head's raw output to a calibrated one, applied in numpy after the graph."""

from typing import Literal

import numpy as np
from pydantic import Field

from contract.arrays import FloatArray
from contract.frozen import Frozen

__all__ = ["Calibration", "Identity", "Platt", "apply_calibration"]

_EDGE = 1e-7


class Identity(Frozen):
    """Leaves the head as the graph gave it."""

    kind: Literal["identity"] = "identity"


class Platt(Frozen):
    """``sigmoid(slope * logit(p) + intercept)`` (Platt, 1999). A positive slope keeps the order."""

    kind: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    intercept: float


Calibration = Identity | Platt


def apply_calibration(calibration: Calibration, values: FloatArray) -> FloatArray:
    """Calibrate one head's values ``[N]``."""
    if isinstance(calibration, Identity):
        return values
    p = np.clip(values.astype(np.float64), _EDGE, 1.0 - _EDGE)
    logit = calibration.slope * np.log(p / (1.0 - p)) + calibration.intercept
    return (1.0 / (1.0 + np.exp(-logit))).astype(np.float32)
