"""How many cores this process may really use, and how its work is laid on them.

In a container the host's size says nothing: the smallest of the scheduler's affinity, the cpuset and the quota counts.
Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html and, for version 1,
https://docs.kernel.org/scheduler/sched-bwc.html.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limit", "ThreadPlan", "core_limit", "memory_limit", "plan_threads"]

_CGROUP = Path("/sys/fs/cgroup")
_DECODE_BEYOND = 4  # threads that asyncio's own pool adds to the cores, see ThreadPoolExecutor
_MOST_DECODE = 32
_NO_MEMORY_LIMIT = 2**60  # version 1 writes the largest number of pages there is


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much of the processor there is.

    Args:
        cores: Cores, .5 being half of one's time.
        source: What sets the limit, as an operator would look for it.
    """

    cores: float
    source: str

    @property
    def whole(self) -> int:
        """Cores that threads can be planned for, at least 1."""
        return max(1, int(self.cores))


@dataclass(frozen=True, kw_only=True)
class ThreadPlan:
    """How a model's work is laid on the cores.

    Args:
        limit: What there is.
        runners: Graph calls of a model at a time.
        threads: Of a graph call.
        decode_threads: Most threads that large bodies are decoded on.
    """

    limit: Limit
    runners: int
    threads: int
    decode_threads: int

    @property
    def too_many(self) -> bool:
        """Tell whether graph calls want more cores than there are."""
        return self.runners * self.threads > self.limit.whole


def plan_threads(limit: Limit, *, runners: int, threads: int | None) -> ThreadPlan:
    """Share the cores out to the runners, unless *threads* says how many each gets."""
    return ThreadPlan(
        limit=limit,
        runners=runners,
        threads=threads or max(1, limit.whole // runners),
        decode_threads=min(_MOST_DECODE, (os.cpu_count() or 1) + _DECODE_BEYOND),
    )


def core_limit(cgroup: Path = _CGROUP, *, affinity: int | None = None) -> Limit:
    """Give the smallest limit on cores and where it comes from.

    Args:
        cgroup: Where control groups are mounted.
        affinity: Cores that the scheduler lets this process run on; asked when None.
    """
    cores = len(os.sched_getaffinity(0)) if affinity is None else affinity
    limits = [Limit(cores=cores, source="scheduler affinity"), *_cpusets(cgroup), *_quotas(cgroup)]
    return min(limits, key=lambda limit: limit.cores)


def memory_limit(cgroup: Path = _CGROUP) -> int | None:
    """Give the bytes of memory that the control group allows; None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _text(cgroup / name)
        if text.isdecimal() and int(text) < _NO_MEMORY_LIMIT:
            return int(text)
    return None


def _quotas(cgroup: Path) -> Iterator[Limit]:
    two = _text(cgroup / "cpu.max").split()
    one = [_text(cgroup / "cpu" / f"cpu.cfs_{part}_us") for part in ("quota", "period")]
    for source, found in (("cgroup v2 cpu.max", two), ("cgroup v1 cpu.cfs_quota_us", one)):
        # No limit is the word "max" in version 2 and -1 in version 1: neither is a decimal.
        if len(found) == 2 and all(part.isdecimal() and int(part) > 0 for part in found):
            yield Limit(cores=int(found[0]) / int(found[1]), source=source)


def _cpusets(cgroup: Path) -> Iterator[Limit]:
    for version, name in (("v2", "cpuset.cpus.effective"), ("v1", "cpuset/cpuset.effective_cpus")):
        if cores := _count(_text(cgroup / name)):
            yield Limit(cores=cores, source=f"cgroup {version} cpuset")


def _count(cpus: str) -> int:
    """Count the cores of a list such as ``0-3,8``; 0 where it is none."""
    total = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            return 0
        total += int(last or first) - int(first) + 1
    return total


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no control group, or one that is not ours to read
        return ""
