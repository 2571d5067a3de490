"""How many cores this process may really use; a container's limit, not the host's size."""

import os
from pathlib import Path

__all__ = ["available_cores"]

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Give the smaller of the scheduler's affinity and the cgroup's quota, at least 1.

    Args:
        cgroup: Where the control group is mounted; version 2 (``cpu.max``) and version 1 are read.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _quota(cgroup)
    except (OSError, ValueError):  # no group, or version 2's word "max"
        return cores
    unlimited = quota <= 0 or period <= 0  # version 1 writes -1
    return cores if unlimited else max(1, min(cores, quota // period))


def _quota(cgroup: Path) -> tuple[int, int]:
    """Read the microseconds of processor time in a period, and the period."""
    if (cgroup / "cpu.max").exists():
        quota, period = (cgroup / "cpu.max").read_text().split()
        return int(quota), int(period)
    folder = cgroup / "cpu"
    return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())
