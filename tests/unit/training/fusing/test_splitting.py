"""Fitted on the earlier, judged on the later, no request in both."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.fusing.logs import START, some_log
from training.errors import LogError
from training.fusing.splitting import check_later, ending_before, time_split


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.floats(0.05, 0.95))
def test_every_request_is_on_one_side_and_every_earlier_moment_before_every_later_one(moments, share):
    log = some_log(len(moments))
    log = replace(log, times=START + np.sort(moments) * np.timedelta64(1, "s"))
    try:
        earlier, later = time_split(log, share)
    except LogError:
        return

    assert [*earlier.requests, *later.requests] == log.requests.tolist()
    assert earlier.times[-1] < later.times[0]
    assert earlier.num_rows + later.num_rows == log.num_rows
    check_later(earlier, later)


def test_the_share_is_of_requests():
    earlier, later = time_split(some_log(200), 0.7)

    assert (earlier.num_requests, later.num_requests) == (140, 60)
    assert later.columns["ctr"].tolist() == some_log(200).columns["ctr"][earlier.num_rows :].tolist()


def test_one_moment_cannot_be_split():
    log = replace(some_log(5), times=np.repeat(START, 5))

    with pytest.raises(LogError, match="cannot be split"):
        time_split(log, 0.5)


def test_a_later_log_that_is_not_later_is_refused():
    first, second = some_log(10), some_log(10, first=10)

    check_later(first, second)
    with pytest.raises(LogError, match="before the log to fit on ends"):
        check_later(second, first)
    with pytest.raises(LogError, match="in both logs"):
        check_later(first, some_log(10, first=5))


def test_requests_after_the_later_log_begins_are_left_out_and_counted():
    earlier = replace(some_log(20), requests=np.array([f"e{n}" for n in range(20)], dtype=object))

    kept, left_out = ending_before(earlier, some_log(10, first=15))

    assert (kept.num_requests, left_out) == (15, 5)
    check_later(kept, some_log(10, first=15))
    with pytest.raises(LogError, match="before the log to fit on"):
        ending_before(some_log(10, first=50), earlier)
