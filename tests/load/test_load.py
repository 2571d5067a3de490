"""Small versions of the long runs."""

import pytest

from tests.load.overload import run
from tests.load.process import Footprint
from tests.load.soak import problems, soak


@pytest.mark.e2e
@pytest.mark.slow
def test_lists_of_random_length_leave_handles_and_threads_as_they_were_and_memory_near():
    assert problems(soak(300), most_growth=0.25) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_a_server_that_is_overloaded_fails_nobody_in_another_way_than_by_429_and_says_when_to_come_back():
    found = run(1.5)

    assert (found["timeouts"], found["broken connections"], found["other errors"]) == (0, 0, 0)
    assert found["refusals with Retry-After"] == found["refused"]
    assert found["answered a second"] > 0
    assert found["capacity afterwards"] > 0


def test_a_soak_that_grew_says_what_grew():
    before = Footprint(rss_mib=100, handles=10, threads=5)
    after = Footprint(rss_mib=120, handles=13, threads=6)

    assert [each.split(" grew")[0] for each in problems([(0, before), (9, after)])] == [
        "memory",
        "file handles",
        "threads",
    ]
