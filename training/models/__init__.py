"""Multi-task rankers, one paper a file. Importing this package fills the registry."""

from training.models import mmoe, shared_bottom, single_task

__all__ = ["mmoe", "shared_bottom", "single_task"]
