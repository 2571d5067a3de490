import os

import pytest

from service.runtime.threads import available_cores

HOST = len(os.sched_getaffinity(0))


def _write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000\n", HOST), ("100000 100000\n", 1), ("50000 100000\n", 1), ("99900000 100000\n", HOST)],
)
def test_a_container_of_today_is_not_given_more_threads_than_its_quota(tmp_path, limit, cores):
    _write(tmp_path, cpu__max=limit)

    assert available_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", HOST), ("100000\n", 1), ("99900000\n", HOST)])
def test_a_container_of_the_first_kind_is_read_too(tmp_path, quota, cores):
    _write(tmp_path / "cpu", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000\n")

    assert available_cores(tmp_path) == cores


def test_without_a_quota_every_core_of_the_process_counts(tmp_path):
    assert available_cores(tmp_path) == HOST
