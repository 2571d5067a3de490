"""What quantising cost, and whether that is little enough to serve."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contract.frozen import Frozen
from training.errors import QuantisationError

__all__ = ["MOST_AUC_LOSS", "Allowance", "Cost", "check_noise", "check_ranking"]

MOST_AUC_LOSS = 0.0005


class Allowance(Frozen):
    """What 8 bits may cost.

    Args:
        auc_loss: Of any head's AUC on the test split, or XAUC of a duration. A split with few positives moves by
            more than this for no reason; give a larger one, or a larger split.
        noise: Root mean square of a head's difference, as a share of its own standard deviation.
    """

    auc_loss: float = Field(default=MOST_AUC_LOSS, ge=0)
    noise: float = Field(default=0.1, gt=0)


class Cost(Frozen):
    """What 8 bits cost.

    Args:
        noise: By head: root mean square difference over the head's standard deviation.
        auc_loss: By head, on the test split: AUC, or XAUC of durations, before less after; below 0 is a gain.
    """

    noise: dict[str, float]
    auc_loss: dict[str, float] = Field(default_factory=dict)


def check_noise(
    before: Mapping[str, NDArray[np.float32]], after: Mapping[str, NDArray[np.float32]], allowed: Allowance
) -> Cost:
    """Compare heads of the same rows.

    Raises:
        QuantisationError: When a head moved by more of its own spread than is allowed.
    """
    noise = {name: _noise(values, after[name]) for name, values in before.items()}
    _refuse_above(allowed.noise, noise, "moves by {worst:.1%} of its own spread, {most:.0%} are allowed")
    return Cost(noise=noise)


def check_ranking(before: Mapping[str, Any], after: Mapping[str, Any], allowed: Allowance) -> dict[str, float]:
    """Compare the heads of two reports on the test split, and give the loss of each.

    Raises:
        QuantisationError: When a head ranks worse by more than is allowed.
    """
    losses = {
        head: float(values[metric]) - float(after[head][metric])
        for head, values in before.items()
        for metric in ("auc", "xauc")
        if metric in values and np.isfinite(values[metric])
    }
    _refuse_above(allowed.auc_loss, losses, "loses {worst:.5f} of AUC on the test split, {most} are allowed")
    return losses


def _noise(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(after - before))) / max(float(np.std(before)), 1e-12))


def _refuse_above(most: float, found: Mapping[str, float], sentence: str) -> None:
    over: Iterable[tuple[str, float]] = [(name, value) for name, value in found.items() if not value <= most]
    for name, worst in over:
        raise QuantisationError(
            f"with 8-bit weights the head {name!r} {sentence.format(worst=worst, most=most)}",
            fix="serve this model without --int8",
        )
