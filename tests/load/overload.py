# ruff: noqa: E501, T201 - lines of the page that it writes, which it also prints
"""Three times as many requests as a server can answer: ``python -m tests.load.overload``."""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from service.settings import Settings
from tests.e2e.server import ROOT, server
from tests.load.lists import body_of, example_request

PAGE = ROOT / "docs" / "benchmarks" / "overload.md"
CONNECTIONS, TIMES, LENGTH = 8, 3, 500
_DEFAULT_WAIT_MS = str(Settings.model_fields["max_queue_wait_ms"].default)  # tests' own servers turn nobody away


async def send(client, body):
    """Give status (0: no answer in time, -1: the connection broke), seconds, and whether a refusal says when to come back."""
    started = time.perf_counter()
    try:
        answer = await client.post("/v1/rank", content=body)
    except httpx.TimeoutException:
        return 0, time.perf_counter() - started, False
    except httpx.TransportError:
        return -1, time.perf_counter() - started, False
    return answer.status_code, time.perf_counter() - started, "retry-after" in answer.headers


async def closed_loop(client, bodies, seconds):
    """Give answers a second with a fixed number of connections, each sending as soon as it was answered."""
    end = time.perf_counter() + seconds

    async def caller():
        done = 0
        while time.perf_counter() < end:
            status, _, _ = await send(client, random.choice(bodies))
            done += status == 200
        return done

    return sum(await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))) / seconds


async def open_loop(client, bodies, rate, seconds):
    """Send on a schedule, whatever comes back; give every outcome."""
    started, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0, started + number / rate - time.perf_counter()))
        tasks.append(asyncio.ensure_future(send(client, bodies[number % len(bodies)])))
    outcomes = await asyncio.gather(*tasks)
    return outcomes, time.perf_counter() - started


async def overload(url, seconds):
    """Measure capacity, overload it, measure capacity again."""
    chance, request = random.Random(1), example_request(url)
    bodies = [body_of(request, LENGTH, chance) for _ in range(64)]
    # Idle connections are let go before the server does it, else a request may meet one that is just closed.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=1)
    async with httpx.AsyncClient(base_url=url, timeout=10, limits=limits) as client:
        await closed_loop(client, bodies, seconds / 4)
        before = await closed_loop(client, bodies, seconds)
        outcomes, took = await open_loop(client, bodies, before * TIMES, seconds)
        after = await closed_loop(client, bodies, seconds)
    refused = sorted(each[1] * 1000 for each in outcomes if each[0] == 429)
    return {
        "capacity, answers a second": before,
        "sent a second": len(outcomes) / took,
        "answered a second": sum(each[0] == 200 for each in outcomes) / took,
        "refused": len(refused),
        "refusals with Retry-After": sum(each[2] for each in outcomes if each[0] == 429),
        "refusal p50, ms": statistics.median(refused) if refused else 0,
        "refusal p99, ms": refused[len(refused) * 99 // 100] if refused else 0,
        "timeouts": sum(each[0] == 0 for each in outcomes),
        "broken connections": sum(each[0] == -1 for each in outcomes),
        "other errors": sum(each[0] not in (-1, 0, 200, 429) for each in outcomes),
        "capacity afterwards": after,
    }


def run(seconds):
    """Start a server and overload it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server(ROOT / "models_onnx", Path(folder) / "f.sqlite", FULCRUM_MAX_QUEUE_WAIT_MS=_DEFAULT_WAIT_MS) as running,
    ):
        return asyncio.run(overload(running.url, seconds))


def main():
    """Run it and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    found = run(given.seconds)
    rows = "\n".join(f"| {what} | {number:,.1f} |" for what, number in found.items())
    page = f"""# Overload

`python -m tests.load.overload --seconds {given.seconds:g}` (`make overload`): {LENGTH} candidates by id of the demo bundle; capacity with
{CONNECTIONS} connections in a closed loop, then {TIMES} times as many requests in an open loop. The caller is one Python process on the same
machine and takes cores from the server; where "sent a second" is below {TIMES} times the capacity, it could not send faster, and
the latency of refusals holds its own waiting too.

| what | |
|---|---|
{rows}
"""
    PAGE.write_text(page)
    print(page)
    sys.exit(1 if found["timeouts"] or found["broken connections"] or found["other errors"] else 0)


if __name__ == "__main__":
    main()
