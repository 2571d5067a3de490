import asyncio
import itertools
from contextlib import asynccontextmanager

import numpy as np
import pytest

from training.benchmarks.serving.load import closed_loop, open_loop, poisson_schedule
from training.benchmarks.serving.samples import BROKEN, TIMED_OUT, Load, Sample
from training.benchmarks.serving.servers import free_port
from training.benchmarks.serving.wire import BrokenAnswer, Connection, post

pytestmark = pytest.mark.anyio
REQUESTS = [post("/rank", b'{"user": 1}'), post("/rank", b"{}")]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nRetry-After: 1\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2;x=y\r\n2]\r\n0\r\n\r\n"


@asynccontextmanager
async def serving(answers, seen=None):
    """Answer each request with the next of *answers*; an answer may be an awaitable maker of one."""
    turn = itertools.cycle(answers)

    async def talk(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
                if seen is not None:
                    seen.append(body)
                answer = next(turn)
                writer.write(answer if isinstance(answer, bytes) else await answer())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_every_answer_of_the_window_is_counted_once_with_its_status():
    seen = []
    async with serving([OK, OK, REFUSED], seen) as port:
        load = await closed_loop(port, REQUESTS, connections=3, seconds=0.3)

    assert set(load.statuses()) == {200, 429}
    assert 0 <= len(seen) - len(load.samples) <= 3  # what was under way when the window ended
    assert load.rate() * load.seconds == pytest.approx(load.statuses()[200])
    assert all(each.told_to_wait == (each.status == 429) for each in load.samples)


async def test_both_bodies_are_sent_in_turn():
    seen = []
    async with serving([OK], seen) as port:
        await closed_loop(port, REQUESTS, connections=1, seconds=0.1)

    assert seen[:4] == [b'{"user": 1}', b"{}", b'{"user": 1}', b"{}"]


async def test_quantiles_rise_and_latencies_are_positive():
    async with serving([OK]) as port:
        load = await closed_loop(port, REQUESTS, connections=2, seconds=0.2)

    quantiles = [load.latency_ms(q) for q in (0.0, 0.5, 0.99, 1.0)]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] > 0


async def test_what_was_answered_in_the_warm_up_is_not_counted():
    async with serving([OK]) as port:
        load = await closed_loop(port, REQUESTS, connections=1, seconds=0.1, warm_up_s=0.2)

    assert load.samples
    assert all(0.2 < each.done_s <= 0.3 for each in load.samples)


async def test_a_chunked_answer_is_read_whole():
    async with serving([CHUNKED, OK]) as port:
        connection = await Connection.open(port)
        first, second = await connection.ask(REQUESTS[0]), await connection.ask(REQUESTS[0])
        connection.close()

    assert (first.body, second.body) == (b"[1,2]", b"{}")


async def test_an_answer_that_is_no_http_is_broken():
    async with serving([b"nonsense\r\n\r\n"]) as port:
        connection = await Connection.open(port)
        with pytest.raises(BrokenAnswer):
            await connection.ask(REQUESTS[0])
        connection.close()


async def test_a_port_without_a_server_gives_broken_samples_and_ends_in_time():
    load = await closed_loop(free_port(), REQUESTS, connections=2, seconds=0.1)

    assert set(load.statuses()) == {BROKEN}


async def test_requests_that_a_stall_holds_up_are_late_from_the_moment_when_they_were_due():
    """The server stands still for a while once; with one connection all who are due meanwhile wait."""
    stall = 0.3
    first = True

    async def slow_once():
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(stall)
        return OK

    async with serving([slow_once]) as port:
        load = await open_loop(port, REQUESTS, rate=200, seconds=0.6, max_connections=1)

    begin = min(each.due_s for each in load.samples)
    for each in load.samples:
        assert each.latency_s >= min(begin + stall - each.due_s, stall) - 0.02
    held = [each for each in load.samples if each.due_s < begin + stall]
    assert len(held) > 20
    assert np.median([each.done_s - each.sent_s for each in held]) < np.median([each.latency_s for each in held]) / 2


async def test_a_request_without_an_answer_is_a_time_out_and_its_late_answer_meets_nobody():
    async def late():
        await asyncio.sleep(0.5)
        return b"HTTP/1.1 500 Late\r\nContent-Length: 2\r\n\r\n{}"

    async with serving([late, OK, OK, OK]) as port:
        load = await open_loop(port, REQUESTS, rate=60, seconds=0.5, timeout_s=0.1)

    assert set(load.statuses()) == {TIMED_OUT, 200}
    assert all(each.latency_s >= 0.09 for each in load.samples if each.status == TIMED_OUT)


def test_arrivals_are_poisson():
    gaps = np.diff(poisson_schedule(rate=500, seconds=100, seed=3))

    assert len(gaps) == pytest.approx(50_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)  # exponential: deviation and mean are one
    assert np.mean(gaps > gaps.mean()) == pytest.approx(np.exp(-1), rel=0.03)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.02


def test_arrivals_are_fixed_by_the_seed_and_stay_inside_the_run():
    first, again, other = (poisson_schedule(50, 2.0, seed) for seed in (1, 1, 2))

    assert first.tolist() == again.tolist() != other.tolist()
    assert first.min() >= 0
    assert first.max() < 2.0


def test_what_is_answered_after_the_arrivals_ended_is_no_goodput():
    samples = [Sample(due_s=0.9, sent_s=0.9, done_s=done, status=200) for done in (0.95, 1.5)]

    assert Load(samples=samples, seconds=1.0).goodput() == 1.0
