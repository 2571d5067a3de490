"""Multi-task rankers, one paper a file. Importing this package fills the registry."""

from training.models import (
    adatt,
    cross_stitch,
    l2_soft,
    mmoe,
    shared_bottom,
    single_task,
    sluice,
    snr,
    tensor_factorisation,
)

__all__ = [
    "adatt",
    "cross_stitch",
    "l2_soft",
    "mmoe",
    "shared_bottom",
    "single_task",
    "sluice",
    "snr",
    "tensor_factorisation",
]
