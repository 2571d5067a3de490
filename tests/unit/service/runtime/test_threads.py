from pathlib import Path

import pytest

from service.runtime.threads import Limit, core_limit, memory_limit, plan_threads


@pytest.fixture
def cgroup(tmp_path):
    """Write a tree of control groups from paths and what stands in them."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "cores", "source"),
    [
        ({}, 8, "scheduler affinity"),
        ({"cpu.max": "max 100000\n"}, 8, "scheduler affinity"),
        ({"cpu.max": "300000 100000\n"}, 3, "cgroup v2 cpu.max"),
        ({"cpu.max": "50000 100000\n"}, 0.5, "cgroup v2 cpu.max"),
        ({"cpu.max": "9900000 100000\n"}, 8, "scheduler affinity"),
        ({"cpuset.cpus.effective": "0-1,5\n", "cpu.max": "max 100000"}, 3, "cgroup v2 cpuset"),
        ({"cpuset.cpus.effective": "0-3\n", "cpu.max": "250000 100000"}, 2.5, "cgroup v2 cpu.max"),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8, "scheduler affinity"),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5, "cgroup v1 cpu.cfs_quota_us"),
        ({"cpuset/cpuset.effective_cpus": "2\n"}, 1, "cgroup v1 cpuset"),
        ({"cpu.max": "", "cpuset.cpus.effective": "\n"}, 8, "scheduler affinity"),
        ({"cpu.max": "100000\n", "cpuset.cpus.effective": "a-b\n"}, 8, "scheduler affinity"),
    ],
)
def test_the_smallest_limit_counts_and_is_named(cgroup, files, cores, source):
    assert core_limit(cgroup(files), affinity=8) == Limit(cores=cores, source=source)


def test_part_of_a_core_still_gets_one_thread_and_two_and_a_half_get_two():
    assert [Limit(cores=cores, source="").whole for cores in (0.5, 1, 2.5)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("cores", "runners", "given", "threads", "too_many"),
    [
        (8, 1, None, 8, False),
        (8, 3, None, 2, False),
        (0.5, 1, None, 1, False),
        (2, 2, 4, 4, True),
        (2, 4, None, 1, True),
    ],
)
def test_runners_share_the_cores_and_a_plan_beyond_them_says_so(cores, runners, given, threads, too_many):
    plan = plan_threads(Limit(cores=cores, source=""), runners=runners, threads=given)

    assert (plan.threads, plan.too_many) == (threads, too_many)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory.max": "max\n"}, None),
        ({"memory.max": "536870912\n"}, 536870912),
        ({"memory/memory.limit_in_bytes": "1073741824\n"}, 1073741824),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_the_limit_on_memory_is_read_from_both_kinds_of_control_group(cgroup, files, limit):
    assert memory_limit(cgroup(files)) == limit
