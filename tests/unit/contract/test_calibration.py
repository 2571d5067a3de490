"""Calibration keeps the order and leaves identity alone."""

import numpy as np

from contract.calibration import Identity, Platt, apply_calibration

RAW = np.array([0.0, 0.1, 0.5, 0.9, 1.0], dtype=np.float32)


def test_identity_changes_no_bit():
    assert apply_calibration(Identity(), RAW).tobytes() == RAW.tobytes()


def test_platt_keeps_the_order_and_stays_a_probability():
    out = apply_calibration(Platt(slope=0.7, intercept=-1.0), RAW)

    assert (np.diff(out) > 0).all()
    assert 0 <= out.min() <= out.max() <= 1
