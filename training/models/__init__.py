"""Multi-task rankers, one paper a file. Importing this package fills the registry."""

from training.models import cgc, home, mmoe, omoe, ple, shared_bottom, single_task, stem

__all__ = ["cgc", "home", "mmoe", "omoe", "ple", "shared_bottom", "single_task", "stem"]
