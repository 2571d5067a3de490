"""Multi-task rankers, one paper a file. Importing this package fills the registry."""

from training.models import (
    adatt,
    aitm,
    cross_stitch,
    escm2,
    esmm,
    l2_soft,
    mmoe,
    sample_weighting,
    shared_bottom,
    single_task,
    sluice,
    snr,
    tensor_factorisation,
)

__all__ = [
    "adatt",
    "aitm",
    "cross_stitch",
    "escm2",
    "esmm",
    "l2_soft",
    "mmoe",
    "sample_weighting",
    "shared_bottom",
    "single_task",
    "sluice",
    "snr",
    "tensor_factorisation",
]
