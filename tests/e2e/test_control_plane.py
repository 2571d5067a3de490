"""Many writers and many clients at once, in real processes."""

import pytest

from tests.e2e.control_plane import change_under_load, wait_until_converged
from tests.e2e.server import ROOT, server
from tests.valkey import ValkeyServer

DEMO = ROOT / "models_onnx"
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def check(outcome, changes):
    """No failed request, no mixed response, no lost update, history complete and ordered."""
    assert (dict(outcome.failed), outcome.mixed) == ({}, 0)
    assert outcome.answers > changes
    first = outcome.revisions[0]["revision"]
    assert [each["revision"] for each in outcome.revisions] == list(range(first, first + changes + 1))
    weights = [each["plan"]["profile"]["weights"]["w"] for each in outcome.revisions]
    assert weights == [float(number) for number in range(changes + 1)]
    times = [each["created_at"] for each in outcome.revisions]
    assert times == sorted(times)
    assert len(outcome.used) > changes // 20, "the load has to meet many revisions for this test to say something"


def test_writers_at_the_same_time_lose_no_change_and_fail_no_request_under_load(tmp_path):
    with server(DEMO, tmp_path / "fusion.sqlite") as running:
        outcome = change_under_load([running.url], changes=100, writers=4, connections=16)

    check(outcome, 100)


def test_three_processes_on_a_valkey_that_is_killed_in_the_middle_lose_no_change_and_fail_no_request():
    with (
        ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as valkey,
        server(DEMO, valkey.url) as first,
        server(DEMO, valkey.url) as second,
        server(DEMO, valkey.url) as third,
    ):

        def die_and_come_back():
            valkey.kill()
            valkey.start()

        urls = [each.url for each in (first, second, third)]
        outcome = change_under_load(urls, changes=60, writers=4, connections=16, halfway=die_and_come_back)
        agreed = wait_until_converged(urls[0])

    check(outcome, 60)
    assert agreed == 3
