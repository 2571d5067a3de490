"""What a process holds, as Linux tells it."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Footprint", "Process"]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Resident memory in MiB, open file handles and threads at one moment."""

    rss_mib: float
    handles: int
    threads: int


class Process:
    """Reads ``/proc/PID``."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc") / str(pid)

    @classmethod
    def current(cls) -> "Process":
        """Give the process that asks."""
        return cls(os.getpid())

    def rss_mib(self) -> float:
        """Give the resident memory."""
        pages = int((self._folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def footprint(self) -> Footprint:
        """Give all three."""
        return Footprint(
            rss_mib=self.rss_mib(),
            handles=len(list((self._folder / "fd").iterdir())),
            threads=len(list((self._folder / "task").iterdir())),
        )
