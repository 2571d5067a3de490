import sys

import pytest

from training.benchmarks.serving.measure import Pace, Side, measure_closed, measure_open
from training.benchmarks.serving.peers import PEERS, PeersMissing, prepare_model, set_up
from training.benchmarks.serving.servers import ServerSpec, ServerUnusable, answer_of, free_port, running
from training.benchmarks.serving.wire import post

PROBE = post("/rank", b"{}")
SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


PACE = Pace(seconds=0.2, rounds=2, warm_up_s=0.0)


def side(tmp_path, code):
    return Side(
        server=spec(tmp_path, code), closed={"naive": [PROBE]}, mixed=[PROBE], overload=[PROBE], log=tmp_path / "log"
    )


def spec(tmp_path, code):
    port = free_port()
    return ServerSpec(name="echo", command=(sys.executable, "-c", code, str(port)), port=port, folder=tmp_path)


def test_a_server_runs_for_its_turn_and_is_gone_after_it(tmp_path):
    server = spec(tmp_path, SERVER)

    with running(server, PROBE, log=tmp_path / "log") as first:
        assert (first.status, first.body) == (200, b"{}")
        assert answer_of(server.port, PROBE).status == 200

    with pytest.raises(OSError):  # noqa: PT011 - whatever the kernel says: nobody listens
        answer_of(server.port, PROBE)


def test_a_server_that_ends_at_its_start_is_refused_with_its_log(tmp_path):
    with (
        pytest.raises(ServerUnusable, match=r"ended with 3.*log"),
        running(spec(tmp_path, "raise SystemExit(3)"), PROBE, log=tmp_path / "log"),
    ):
        pass


def test_a_taken_port_is_refused_so_that_nobody_else_is_measured(tmp_path):
    server = spec(tmp_path, SERVER)

    with (
        running(server, PROBE, log=tmp_path / "log"),
        pytest.raises(ServerUnusable, match="is taken"),
        running(server, PROBE, log=tmp_path / "other", port_within_s=0.0),
    ):
        pass


def test_a_peer_that_cannot_be_had_is_left_out_with_the_reason_and_stops_no_other(tmp_path):
    def run(command, _timeout_s):
        if "nvidia-pytriton" in command:
            raise PeersMissing("python failed: no matching wheel")
        if command[1:3] == ["-m", "venv"]:
            (tmp_path / command[3]).mkdir()

    usable, left_out = set_up([PEERS["pytriton"], PEERS["fastapi"]], tmp_path, run)

    assert [peer.name for peer in usable] == ["fastapi"]
    assert left_out == {"pytriton": "python failed: no matching wheel"}


def test_an_environment_that_is_there_is_used_again(tmp_path):
    commands = []

    def run(command, _timeout_s):
        commands.append(command)
        (tmp_path / "fastapi").mkdir(exist_ok=True)

    set_up([PEERS["fastapi"]], tmp_path, run)
    count = len(commands)
    set_up([PEERS["fastapi"]], tmp_path, run)

    assert count == len(commands) == 2


def test_without_the_harness_one_sentence_says_so(tmp_path):
    with pytest.raises(PeersMissing, match=r"make_model\.py"):
        prepare_model(tmp_path, tmp_path / "cache", tmp_path / "models")


def test_a_peer_that_does_not_start_misses_its_turn_and_the_others_are_measured(tmp_path):
    said = []
    sides = [side(tmp_path, SERVER), side(tmp_path, "raise SystemExit(3)")]

    measured, bare = measure_closed(sides, PACE, lambda: 7.0, said.append)

    assert [each.round for each in measured] == [0, 1]
    assert all(each.statuses.keys() == {200} and each.rate > 0 for each in measured)
    assert bare == [7.0, 7.0]
    assert sum("its turn is left out" in line for line in said) == 2


def test_when_ours_does_not_start_there_is_nothing_to_measure(tmp_path):
    with pytest.raises(ServerUnusable):
        measure_closed([side(tmp_path, "raise SystemExit(3)")], PACE, lambda: 7.0, lambda _line: None)


def test_three_times_the_measured_capacity_is_sent_in_the_overload(tmp_path):
    echo = side(tmp_path, SERVER)

    mixed, overload = measure_open([echo], Pace(seconds=0.3, rounds=1, warm_up_s=0.0), lambda _line: None)

    sent = sum(overload[0].statuses.values())
    assert mixed[0].workload == "mixed at 70 %"
    assert sent == pytest.approx(3 * overload[0].capacity * 0.3, rel=0.25)
