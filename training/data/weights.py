"""Weights of rows: how much each counts in training."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import DataError

__all__ = ["checked_weights", "scale_to_mean_one"]


def checked_weights(table: pa.Table, name: str, split: str) -> NDArray[np.float32]:
    """Give a dataset's weights end to end, ``[N]``.

    Raises:
        DataError: Where one is missing, negative or not finite.
    """
    column = table[name].combine_chunks().flatten()
    weights = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)
    usable = np.isfinite(weights) & (weights >= 0)
    if not usable.all():
        row = int(np.argmin(usable))
        raise DataError(
            f"{split}: weight {column[row].as_py()} of row {row} in {name!r} cannot be used",
            fix="give every row a finite weight of 0 or more",
        )
    return weights


def scale_to_mean_one(weights: NDArray[np.float32], split: str) -> None:
    """Divide weights by their mean, in place; so a factor on all of them, or another unit, changes nothing.

    Raises:
        DataError: When all are 0.
    """
    if not len(weights):
        return
    mean = float(np.mean(weights, dtype=np.float64))
    if mean == 0.0:
        raise DataError(f"{split}: every weight is 0", fix="give the rows that count a weight above 0")
    weights /= np.float32(mean)
