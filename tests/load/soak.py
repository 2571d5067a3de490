# ruff: noqa: E501, T201 - lines of the page that it writes, which it also prints
"""Memory, file handles and threads of a server under lists of random length: ``python -m tests.load.soak``."""

import argparse
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.e2e.server import ROOT, server
from tests.load.lists import body_of, example_request
from tests.load.process import Process

PAGE = ROOT / "docs" / "benchmarks" / "soak.md"
CONNECTIONS = 4
MOST_GROWTH = 0.10  # of the memory after warm-up; a leak of 1 KB a request is twice that in 100,000
QUARTERS = 4
IN_PASSING = 2  # handles that may just be open at the moment of a look


def soak(requests):
    """Send them in four quarters behind a warm-up of a tenth; give what the server holds at each point."""
    with tempfile.TemporaryDirectory() as folder, server(ROOT / "models_onnx", Path(folder) / "f.sqlite") as running:
        request, held = example_request(running.url), Process(running.process.pid)
        points = []
        with httpx.Client(base_url=running.url, timeout=60) as client, ThreadPoolExecutor(CONNECTIONS) as pool:

            def send(seed):
                chance = random.Random(seed)
                answer = client.post("/v1/rank", content=body_of(request, chance.randint(1, 1000), chance))
                assert answer.status_code == 200, answer.text

            list(pool.map(send, range(-max(100, requests // 10), 0)))
            points.append((0, held.footprint()))
            for quarter in range(QUARTERS):
                list(pool.map(send, range(requests * quarter // QUARTERS, requests * (quarter + 1) // QUARTERS)))
                points.append((requests * (quarter + 1) // QUARTERS, held.footprint()))
    return points


def problems(points, most_growth=MOST_GROWTH):
    """Say what grew; threads may not at all, handles not beyond those in passing."""
    first, last = points[0][1], points[-1][1]
    found = []
    if last.rss_mib > first.rss_mib * (1 + most_growth):
        found.append(f"memory grew from {first.rss_mib:.0f} to {last.rss_mib:.0f} MiB")
    if last.handles > first.handles + IN_PASSING:
        found.append(f"file handles grew from {first.handles} to {last.handles}")
    if last.threads > first.threads:
        found.append(f"threads grew from {first.threads} to {last.threads}")
    return found


def main():
    """Run it, write the page, end with an error when something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    given = parser.parse_args()
    points = soak(given.requests)
    found = problems(points)
    rows = "\n".join(f"| {n:,} | {at.rss_mib:.1f} | {at.handles} | {at.threads} |" for n, at in points)
    page = f"""# Soak

`python -m tests.load.soak --requests {given.requests}` (`make soak` sends 100,000): lists of 1 to 1,000 ids at random, {CONNECTIONS} connections, a
real server process with the demo bundle; row 0 is after a warm-up of a tenth as many. It fails when memory grows by more
than {MOST_GROWTH:.0%} from there, handles by more than {IN_PASSING}, or threads at all. Result: {"; ".join(found) or "flat"}.

| requests | resident memory, MiB | file handles | threads |
|---|---|---|---|
{rows}
"""
    PAGE.write_text(page)
    print(page)
    sys.exit("; ".join(found) or 0)


if __name__ == "__main__":
    main()
