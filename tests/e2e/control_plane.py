"""Many writers change one profile while many clients rank: what has to hold, whatever the store and the processes do.

``python -m tests.e2e.control_plane --help`` runs it at any size; tests/e2e/test_control_plane.py at a small one.
"""

import asyncio
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from tests.e2e.server import TOKEN

__all__ = ["Outcome", "change_under_load", "wait_until_converged"]

ADMIN = {"Authorization": f"Bearer {TOKEN}"}
PROFILE = "/v1/admin/fusion/default"
FORMULA = {"formula": "w * ctr + log1p(duration_seconds)", "weights": {"w": 0.0}, "reason": "start"}
_RETRY_S = 0.02


@dataclass(kw_only=True)
class Outcome:
    """What came of it.

    Args:
        failed: Answers to rank requests other than 200, by status.
        mixed: Answers whose scores are not those of the one revision that they name.
        revisions: Of the history, oldest first.
        used: Revisions that answers named.
        refused: Answers to writers other than 200, by status; each was tried again.
    """

    answers: int = 0
    failed: Counter[int] = field(default_factory=Counter)
    mixed: int = 0
    revisions: list[dict] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    refused: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def change_under_load(
    urls: Sequence[str],
    *,
    changes: int,
    writers: int,
    connections: int,
    halfway: Callable[[], None] = lambda: None,
) -> Outcome:
    """Let *writers* add 1 to a weight, *changes* times in all, under load from *connections*; then read the history.

    Args:
        halfway: Is called once half of the changes are kept.
    """
    outcome, done = Outcome(), threading.Event()
    start = _start(urls[0])
    begin = time.perf_counter()
    with ThreadPoolExecutor(writers + 1) as pool:
        load = pool.submit(lambda: asyncio.run(_load(urls, connections, done)))
        budget = _Budget(changes, halfway)
        working = [pool.submit(_write, urls[n % len(urls)], f"writer {n}", budget, outcome) for n in range(writers)]
        try:
            for each in working:
                each.result()
        finally:
            done.set()
        seen = load.result()
    outcome.seconds = time.perf_counter() - begin
    outcome.revisions = [each for each in _history(urls[0]) if each["revision"] >= start]
    _judge(outcome, seen)
    return outcome


def wait_until_converged(url: str) -> int:
    """Write once more and wait for everyone; give how many processes have applied it."""
    with httpx.Client(base_url=url, timeout=60) as client:
        etag = client.get(PROFILE, headers=ADMIN).headers["etag"]
        params = {"wait": "all", "wait_timeout_s": 30}
        answer = client.put(PROFILE, params=params, json=FORMULA, headers={**ADMIN, "If-Match": etag})
    assert answer.status_code == 200, answer.text
    return len(answer.json()["convergence"]["processes"])


def _start(url: str) -> int:
    with httpx.Client(base_url=url, timeout=30) as client:
        etag = client.get(PROFILE, headers=ADMIN).headers["etag"]
        answer = client.put(f"{PROFILE}?wait=all", json=FORMULA, headers={**ADMIN, "If-Match": etag})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["revision"])


class _Budget:
    """Hands out the changes, one at a time, and calls *halfway* once."""

    def __init__(self, changes: int, halfway: Callable[[], None]) -> None:
        self._left, self._half, self._halfway = changes, changes // 2, halfway
        self._lock = threading.Lock()

    def take(self) -> int:
        with self._lock:
            self._left -= 1
            number = self._left + 1
        if self._left == self._half:
            self._halfway()
        return number


def _write(url: str, writer: str, budget: _Budget, outcome: Outcome) -> None:
    with httpx.Client(base_url=url, timeout=30, headers=ADMIN) as client:
        while (number := budget.take()) > 0:
            _add_one(client, f"{writer}: {number}", outcome)


def _add_one(client: httpx.Client, reason: str, outcome: Outcome) -> None:
    """Add one exactly once: a change whose answer was lost may have been kept, which its reason tells."""
    lost = False
    while not (lost and _was_kept(client, reason)):
        seen = client.get(PROFILE).json()
        body = {"weights": {"w": seen["weights"]["w"] + 1.0}, "reason": reason}
        answer = client.patch(f"{PROFILE}/weights", json=body, headers={"If-Match": f'"{seen["revision"]}"'})
        if answer.status_code == 200:
            return
        outcome.refused[answer.status_code] += 1
        assert answer.status_code in (409, 503), answer.text
        lost = lost or answer.status_code == 503


def _was_kept(client: httpx.Client, reason: str) -> bool:
    """Ask until the store answers again."""
    answer = client.get(f"{PROFILE}/history", params={"limit": 50})
    while answer.status_code == 503:
        threading.Event().wait(_RETRY_S)
        answer = client.get(f"{PROFILE}/history", params={"limit": 50})
    return any(each["reason"] == reason for each in answer.json()["revisions"])


def _history(url: str) -> list[dict]:
    pages, before = [], None
    with httpx.Client(base_url=url, timeout=30, headers=ADMIN) as client:
        while True:
            params = {"limit": 500} | ({"before": before} if before else {})
            page = client.get(f"{PROFILE}/history", params=params).json()
            pages.extend(page["revisions"])
            if (before := page["next_before"]) is None:
                return pages[::-1]


async def _load(urls: Sequence[str], connections: int, done: threading.Event) -> list[tuple[int, int, float]]:
    """Rank without pause; give status, revision and the weight that each answer's scores imply (nan: they differ)."""
    async with httpx.AsyncClient(timeout=30) as client:
        body = json.dumps((await client.get(f"{urls[0]}/v1/models/demo/example")).json()).encode()
    seen: list[tuple[int, int, float]] = []
    await asyncio.gather(*(_rank(urls[n % len(urls)], body, done, seen) for n in range(connections)))
    return seen


async def _rank(url: str, body: bytes, done: threading.Event, seen: list[tuple[int, int, float]]) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/rank HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    while not done.is_set():
        writer.write(head + body)
        answer_head = await reader.readuntil(b"\r\n\r\n")
        status = int(answer_head[9:12])
        length = int(answer_head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = json.loads(await reader.readexactly(length))
        seen.append((status, *_implied(answer)) if status == 200 else (status, 0, math.nan))
    writer.close()


def _implied(answer: dict) -> tuple[int, float]:
    weights = [
        (result["score"] - math.log1p(result["heads"]["duration_seconds"])) / result["heads"]["ctr"]
        for result in answer["results"]
    ]
    spread = max(weights) - min(weights)
    return answer["fusion"]["revision"], weights[0] if spread < 1e-6 * max(1.0, abs(weights[0])) else math.nan


def _judge(outcome: Outcome, seen: Sequence[tuple[int, int, float]]) -> None:
    weights = {each["revision"]: each["plan"]["profile"]["weights"]["w"] for each in outcome.revisions}
    outcome.answers = len(seen)
    for status, revision, implied in seen:
        if status != 200:
            outcome.failed[status] += 1
        elif not math.isclose(implied, weights[revision], rel_tol=1e-6, abs_tol=1e-6):
            outcome.mixed += 1
        outcome.used.add(revision)
