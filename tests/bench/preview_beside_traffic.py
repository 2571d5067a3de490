"""Does a preview disturb live requests? Run it with ``python -m tests.bench.preview_beside_traffic``.

A real server, 8 connections that each send a request of 100 candidates by id at fixed times, and in turn rounds without
previews and with one after the other. A latency counts from the time at which the request was due, so that a stall is
charged to every request it holds up. Both kinds of round share the machine's other load, so what counts is their ratio.

Beside other heavy work the tail of either kind is that work's. Where Linux groups processes by session (sched(7), "The
autogroup feature"), root can let the benchmark go first:

    setsid -w bash -c 'echo -15 > /proc/self/autogroup; exec python -m tests.bench.preview_beside_traffic --rate 150'
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq
import typer

from tests.e2e.server import ROOT, TOKEN, server

CONNECTIONS = 8
CANDIDATES = 100
PROPOSED = {"formula": "ctr + w * log1p(duration_seconds) + 0.2 * like", "weights": {"w": 0.3}, "segment_by": "segment"}


class Connection:
    """One keep-alive HTTP/1.1 connection; just enough to cost little."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url):
        place = urlsplit(url)
        return cls(*await asyncio.open_connection(place.hostname, place.port))

    async def post(self, message):
        self._writer.write(message)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200"), body
        return body

    def close(self):
        self._writer.close()


def packed(url, path, body):
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {TOKEN}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def bodies(count, source):
    """Requests by id, of users and candidates taken at random from the demo's own vocabularies."""
    bundle = ROOT / "models_onnx" / "demo" / "1"
    items = pq.read_table(bundle / "items.parquet", columns=["item_id"])["item_id"].to_pylist()
    words = json.loads((bundle / "manifest.json").read_text())["features"]["vocabularies"]
    return [
        json.dumps(
            {
                "request": {
                    "user": f"u{source.randrange(5_000)}",
                    "segment": source.choice(words["segment"]),
                    "device": source.choice(words["device"]),
                    "hour": source.choice(words["hour"]),
                    "history": source.sample(items, 10),
                },
                "candidates": {"item_id": source.sample(items, CANDIDATES)},
                "top_k": 10,
            }
        ).encode()
        for _ in range(count)
    ]


async def fire(url, messages, *, rate, seconds):
    """Send at *rate* a second for so long; give each latency in seconds. A rate of 0 sends as fast as it can."""
    connections = [await Connection.open(url) for _ in range(CONNECTIONS)]
    begin = time.perf_counter() + 0.01
    latencies = []

    async def one(number, connection):
        step = CONNECTIONS / rate if rate else 0.0
        due = begin + step * number / CONNECTIONS
        while due < begin + seconds:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await connection.post(random.choice(messages))
            now = time.perf_counter()
            latencies.append(now - due)
            due = due + step if rate else now

    await asyncio.gather(*(one(*each) for each in enumerate(connections)))
    for each in connections:
        each.close()
    return latencies


async def preview_again_and_again(url, done, pause):
    """Ask for previews until told, with a pause between two; give how many there were and the last answer."""
    connection = await Connection.open(url)
    message = packed(url, "/v1/admin/fusion/default/preview", json.dumps(PROPOSED).encode())
    count, answer = 0, b"{}"
    while not done.is_set():
        answer = await connection.post(message)
        count += 1
        await asyncio.sleep(pause)
    connection.close()
    return count, json.loads(answer)


async def bench(url, *, rounds, seconds, rate, pause):
    messages = [packed(url, "/v1/rank", body) for body in bodies(256, random.Random(0))]
    if not rate:
        rate = len(await fire(url, messages, rate=0, seconds=3)) / 3 / 2
    typer.echo(f"{os.cpu_count()} cores, {rate:.0f} requests a second, load {os.getloadavg()[0]:.1f}")
    await fire(url, messages, rate=rate, seconds=8)  # fills the reservoir
    quiet, beside = [], []
    for number in range(rounds):
        for with_preview in (True, False) if number % 2 else (False, True):
            if not with_preview:
                quiet.append(await fire(url, messages, rate=rate, seconds=seconds))
                continue
            done = asyncio.Event()
            previews = asyncio.create_task(preview_again_and_again(url, done, pause))
            beside.append(await fire(url, messages, rate=rate, seconds=seconds))
            done.set()
            count, answer = await previews
        report(number, quiet[-1], beside[-1], count, answer["traffic"])
    return quiet, beside


def report(number, quiet, beside, count, traffic):
    typer.echo(
        f"round {number}: p50 {_ms(quiet, 50)} -> {_ms(beside, 50)}, p99 {_ms(quiet, 99)} -> {_ms(beside, 99)} ms "
        f"({_ratio(quiet, beside, 99):+.1%}); {count} previews of {traffic['requests']} requests, "
        f"{traffic['candidates']} candidates; load {os.getloadavg()[0]:.1f}"
    )


def summary(quiet, beside):
    for percent in (50, 95, 99):
        ratios = [_ratio(*both, percent) for both in zip(quiet, beside, strict=True)]
        pooled = _ratio(np.concatenate(quiet), np.concatenate(beside), percent)
        typer.echo(
            f"p{percent}: median of rounds {statistics.median(ratios):+.1%}, of all requests together {pooled:+.1%}"
        )


def _ratio(quiet, beside, percent):
    return np.percentile(beside, percent) / np.percentile(quiet, percent) - 1


def _ms(latencies, percent):
    return f"{np.percentile(latencies, percent) * 1000:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each half of a round")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0 takes half of what is possible")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two previews")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(ROOT / "models_onnx", Path(folder) / "f.sqlite") as running:
        summary(
            *asyncio.run(
                bench(running.url, rounds=given.rounds, seconds=given.seconds, rate=given.rate, pause=given.pause)
            )
        )


if __name__ == "__main__":
    main()
