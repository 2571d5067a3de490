"""Many writers and many clients at once, in three real processes that share a real Valkey."""

import contextlib

import pytest

from tests.e2e.control_plane import change_under_load
from tests.e2e.server import ROOT, server
from tests.e2e.test_control_plane import check

DEMO = ROOT / "models_onnx"
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_valkey_that_dies_and_comes_back_loses_no_change_and_fails_no_request_of_three_processes(valkey_server):
    def strike():
        valkey_server.kill()
        valkey_server.start()

    location = f"{valkey_server.url}?namespace=e2e"
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(server(DEMO, location)).url for _ in range(3)]
        outcome = change_under_load(urls, changes=100, writers=4, connections=16, halfway=strike)

    check(outcome, 100)
