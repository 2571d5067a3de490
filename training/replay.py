"""Sends held-out impressions through a running server and reports what it answered.

The report is made by the same code as the offline one, from the heads and scores that came over HTTP, so any
difference between training and serving shows as a difference of numbers.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contract.tasks import Task
from training.data.columns import group_keys
from training.data.format import Dataset
from training.errors import ReplayError
from training.golden import plain_queries
from training.report import Impressions, head_reports, main_label, ranking_report

__all__ = ["Replayed", "replay"]

_CONNECTIONS = 4
_AHEAD = 64
_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What came back.

    Args:
        report: Heads and fused ranking, as in ``report.json``.
        requests: Requests that were answered.
        model_versions: Versions that answered.
        fusion_revisions: Revisions that answered; more than one means the fusion changed meanwhile.
    """

    report: dict[str, Any]
    requests: int
    model_versions: list[int]
    fusion_revisions: list[int]


def replay(
    dataset: Dataset,
    url: str,
    *,
    model: str,
    profile: str = "default",
    split: str = "test",
    tasks: tuple[Task, ...],
    on_request: Callable[[], None] = lambda: None,
) -> Replayed:
    """Replay a split.

    Args:
        url: Of the server, without a path.
        tasks: Of the model, to know which labels its heads answer.

    Raises:
        ReplayError: When a request is not answered with a complete ranking.
    """
    parts = _Parts([label.name for label in dataset.info.labels])
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client, ThreadPoolExecutor(_CONNECTIONS) as pool:
        waiting: deque[tuple[pa.Table, int, Future[dict[str, Any]]]] = deque()
        for table, row, body in _bodies(dataset, split, model, profile):
            waiting.append((table, row, pool.submit(_rank, client, body)))
            if len(waiting) >= _AHEAD:
                parts.add(dataset, *waiting.popleft())
                on_request()
        while waiting:
            parts.add(dataset, *waiting.popleft())
            on_request()
    return parts.result(tasks)


def _bodies(dataset: Dataset, split: str, model: str, profile: str) -> Iterator[tuple[pa.Table, int, dict[str, Any]]]:
    envelope = {"model": model, "profile": profile, "return": ["heads"]}
    for table in dataset.row_groups(split):
        for row, query in enumerate(plain_queries(dataset, table)):
            yield table, row, envelope | query


def _rank(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = client.post("/v1/rank", json=body)
    except httpx.HTTPError as error:
        raise ReplayError(f"{client.base_url} did not answer: {error}", fix="start it with `fulcrum serve`") from error
    if response.status_code != httpx.codes.OK:
        raise ReplayError(f"the server answered {response.status_code}: {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer


class _Parts:
    """Answers put back into the order of the data."""

    def __init__(self, labels: list[str]) -> None:
        self._labels: dict[str, list[Any]] = {name: [] for name in labels}
        self._heads: dict[str, list[Any]] = {}
        self._scores: list[Any] = []
        self._lists: list[Any] = []
        self._users: list[Any] = []
        self._versions: set[int] = set()
        self._revisions: set[int] = set()
        self._requests = 0

    def add(self, dataset: Dataset, table: pa.Table, row: int, future: "Future[dict[str, Any]]") -> None:
        answer = future.result()
        item_ids = table["item_id"][row].as_py()
        positions = _positions(item_ids, answer["results"])
        for name in answer["results"][0]["heads"]:
            self._heads.setdefault(name, []).append(
                _scatter(positions, [result["heads"][name] for result in answer["results"]], np.float32)
            )
        scores = [-np.inf if result["score"] is None else result["score"] for result in answer["results"]]
        self._scores.append(_scatter(positions, scores, np.float64))
        for name, parts in self._labels.items():
            parts.append(np.array(table[name][row].as_py(), dtype=np.float32))
        user = group_keys([table[dataset.info.user_key][row].as_py()])[0]
        self._lists.append(np.full(len(item_ids), self._requests))
        self._users.append(np.full(len(item_ids), user))
        self._versions.add(answer["model"]["version"])
        self._revisions.add(answer["fusion"]["revision"])
        self._requests += 1

    def result(self, tasks: tuple[Task, ...]) -> Replayed:
        if not self._requests:
            raise ReplayError("the split has no requests")
        rows = Impressions(
            lists=np.concatenate(self._lists),
            users=np.concatenate(self._users),
            labels={name: np.concatenate(parts) for name, parts in self._labels.items()},
            heads={name: np.concatenate(parts) for name, parts in self._heads.items()},
            numbers={},
        )
        scores = np.concatenate(self._scores)
        return Replayed(
            report={
                "heads": head_reports(rows, tasks),
                "fused": ranking_report(rows, scores, main_label(tasks)),
            },
            requests=self._requests,
            model_versions=sorted(self._versions),
            fusion_revisions=sorted(self._revisions),
        )


def _positions(item_ids: list[str], results: list[dict[str, Any]]) -> list[int]:
    """Find where each result stood in the request; an item that was sent twice is taken in order."""
    places: dict[str, deque[int]] = {}
    for position, item_id in enumerate(item_ids):
        places.setdefault(item_id, deque()).append(position)
    if len(results) != len(item_ids):
        raise ReplayError(f"sent {len(item_ids)} candidates, got {len(results)} back")
    return [places[result["item_id"]].popleft() for result in results]


def _scatter(positions: list[int], values: list[float], dtype: type) -> Any:
    out: NDArray[Any] = np.empty(len(positions), dtype=dtype)
    out[positions] = values
    return out
