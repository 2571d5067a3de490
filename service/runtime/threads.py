"""How many cores this process may really use; a container's limit, not the host's size."""

import os
from pathlib import Path

__all__ = ["available_cores"]

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")


def available_cores(cpu_max: Path = _CGROUP_V2) -> int:
    """Give the smaller of the scheduler's affinity and the cgroup's quota, at least 1."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
