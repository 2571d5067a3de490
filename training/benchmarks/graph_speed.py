"""Times the naive graph of the peers beside ours, in one process, each in turn: ``fulcrum bench graphs``.

One request with 500 candidates. Processor time is what the calling thread spent, so with one thread it leaves out
the turns of other processes; with more threads only the clock counts.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract.bundle import Bundle, latest_bundle
from contract.features import FIRST_ID
from training.benchmarks.peers_bundle import CANDIDATE_FIELDS

__all__ = ["Timing", "time_graphs"]

_CANDIDATES, _WARM_UP = 500, 5
_Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Medians of one way to score the request.

    Args:
        cpu_ms: Processor time of the calling thread.
        wall_ms: Clock time.
        difference: Largest difference of a head from the naive graph's.
    """

    name: str
    cpu_ms: float
    wall_ms: float
    difference: float


def time_graphs(naive: Path, models: Path, *, threads: int, rounds: int) -> list[Timing]:
    """Time the naive graph, and of each bundle the whole graph and the suffix over its whole item table.

    Args:
        naive: ``naive.onnx``, which ``make_model.py`` writes.
        models: Folder that ``fulcrum bench import-peers`` published into.
    """
    rng = np.random.default_rng(0)
    user = rng.integers(0, 24_000, (1, 24))
    bundles = [latest_bundle(models, name) for name in ("peers", "peers-int8")]
    items = _items(bundles[0])
    rows = rng.integers(0, len(items), _CANDIDATES)
    tiled = {"xu": np.repeat(user, _CANDIDATES, axis=0), "xi": items[rows]}
    ways: dict[str, Callable[[], NDArray[np.float32]]] = {"naive": _way(naive, tiled, threads)}
    for bundle in bundles:
        request = {"request_ids": user + FIRST_ID, "request_index": np.zeros(_CANDIDATES, np.int64)}
        inline = request | {"candidate_ids": items[rows] + FIRST_ID}
        ways[f"{bundle.manifest.name}, features"] = _way(bundle.model_path, inline, threads)
        by_id = request | _tables(bundle, items) | {"candidate_rows": rows}
        ways[f"{bundle.manifest.name}, by id"] = _way(bundle.path / "suffix.onnx", by_id, threads)
    return _timed(ways, rounds)


def _timed(ways: Mapping[str, Callable[[], NDArray[np.float32]]], rounds: int) -> list[Timing]:
    answers = {name: run() for name, run in ways.items()}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_WARM_UP + rounds):
        for name, run in ways.items():
            begin, begin_cpu = time.perf_counter(), time.thread_time()
            run()
            cpu[name].append(time.thread_time() - begin_cpu)
            wall[name].append(time.perf_counter() - begin)
    return [
        Timing(
            name=name,
            cpu_ms=statistics.median(cpu[name][_WARM_UP:]) * 1e3,
            wall_ms=statistics.median(wall[name][_WARM_UP:]) * 1e3,
            difference=float(np.max(np.abs(answers[name] - answers["naive"]))),
        )
        for name in ways
    ]


def _way(graph: Path, feeds: _Feeds, threads: int) -> Callable[[], NDArray[np.float32]]:
    session = _session(graph, threads)
    return lambda: np.stack([np.asarray(each) for each in session.run(None, feeds)], axis=-1).reshape(_CANDIDATES, -1)


def _session(graph: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _items(bundle: Bundle) -> NDArray[np.int64]:
    assert bundle.items_path is not None  # noqa: S101 - import-peers writes one
    table = pq.read_table(bundle.items_path)
    return np.stack([table[name].to_numpy() for name in CANDIDATE_FIELDS], axis=1)


def _tables(bundle: Bundle, items: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    session = _session(bundle.path / "prefix.onnx", 1)
    names = [share.name for share in session.get_outputs()]
    return dict(zip(names, session.run(names, {"candidate_ids": items + FIRST_ID}), strict=True))
