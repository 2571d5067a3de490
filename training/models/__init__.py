"""Multi-task rankers, one paper a file. Importing this package fills the registry."""

from training.models import cea, info_select, mmoe, pepnet, shared_bottom, single_task, star

__all__ = ["cea", "info_select", "mmoe", "pepnet", "shared_bottom", "single_task", "star"]
