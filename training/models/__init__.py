"""Multi-task rankers, one paper a file. Importing this package fills the registry."""

from training.models import (
    aitm,
    cgc,
    escm2,
    esmm,
    home,
    mmoe,
    omoe,
    ple,
    sample_weighting,
    shared_bottom,
    single_task,
    stem,
)

__all__ = [
    "aitm",
    "cgc",
    "escm2",
    "esmm",
    "home",
    "mmoe",
    "omoe",
    "ple",
    "sample_weighting",
    "shared_bottom",
    "single_task",
    "stem",
]
