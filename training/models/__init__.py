"""Multi-task rankers, one paper a file. Importing this package fills the registry."""

from training.models import aitm, escm2, esmm, mmoe, sample_weighting, shared_bottom, single_task

__all__ = ["aitm", "escm2", "esmm", "mmoe", "sample_weighting", "shared_bottom", "single_task"]
