# ruff: noqa: T201 - prints its table
"""The median time of each stage of ranking 500 candidates by id: ``python -m tests.load.stages``."""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from tests.e2e.server import ROOT, server
from tests.load.lists import body_of, example_request


def stages(url, times, length=500):
    """Give medians in ms by stage, and of the whole as the caller sees it."""
    request, chance, seen = example_request(url), random.Random(1), {}
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(times):
            body = body_of(request, length, chance)
            started = time.perf_counter()
            answer = client.post("/v1/rank", content=body)
            whole = (time.perf_counter() - started) * 1000
            for stage, took in {**answer.json()["timings_ms"], "seen by the caller": whole}.items():
                seen.setdefault(stage, []).append(took)
    return {stage: statistics.median(took) for stage, took in seen.items()}


def main():
    """Print a row a stage, and one candidate's own answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(ROOT / "models_onnx", Path(folder) / "f.sqlite") as running:
        for stage, took in stages(running.url, given.times).items():
            print(f"| {stage} | {took:.3f} |")
        one = {"model": "demo", "request": example_request(running.url), "candidates": {"item_id": ["i2"]}}
        print(httpx.post(f"{running.url}/v1/rank", json={**one, "return": ["heads", "explain"]}).json()["results"][0])


if __name__ == "__main__":
    main()
