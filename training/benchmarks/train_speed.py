"""Training speed and memory: ``make bench-train``.

Rows a second beside torch-rechub's MTLTrainer: the same sizes of MMoE, Adam, about 2,048 rows a batch, 24 request and
16 candidate fields, 4 binary tasks, lists of 10, two threads each, in turn in one run. Then the memory of a whole run
on the simulator as rows grow, from Parquet to the last step.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import training.models
from contract.arrays import SideArrays
from contract.features import FeatureSchema, Hashed
from contract.tasks import BinaryTask
from training.config import OptimConfig, TrainConfig
from training.data import simulator
from training.data.batches import Batch, shuffled_batches
from training.data.columns import EncodedSplit, encode_split
from training.data.schema import fit_schema
from training.fitting import declared_tasks
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.trainer import fit, train_epoch

__all__ = ["SIZES", "Size", "main"]

ROWS, LIST, REQUEST_FIELDS, CANDIDATE_FIELDS, TASKS = 200_000, 10, 24, 16, 4
VOCABULARY, BATCH_REQUESTS, THREADS, REPEATS = 10_000, 205, 2, 3
WARM_UP_BATCHES = 20
MEMORY_ROWS = (100_000, 1_000_000, 10_000_000)
_PEER = Path(__file__).parent / "peers" / "rechub_speed.py"
_ = training.models  # fills the registry


@dataclass(frozen=True, kw_only=True)
class Size:
    """One network.

    Args:
        goal: Rows a second that we want, as a multiple of the peer's trainer.
    """

    name: str
    experts: int
    hidden: tuple[int, ...]
    embedding_dim: int
    goal: float


SIZES = (
    Size(name="small", experts=4, hidden=(64, 32), embedding_dim=8, goal=5.0),
    Size(name="large", experts=8, hidden=(256, 128), embedding_dim=16, goal=2.0),
)


def main(peer_python: str, out: Path) -> None:
    """Measure and write the page."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="fulcrum-bench-") as scratch:
        columns = _write_columns(Path(scratch))
        lines = []
        for size in SIZES:
            lines.append(_speed_row(size, peer_python, columns))
            console.print(lines[-1])
    memory = [_memory_row(rows) for rows in MEMORY_ROWS]
    out.write_text(_page(lines, memory))


def _speed_row(size: Size, peer_python: str, columns: Path) -> str:
    arguments = [str(columns), str(size.experts), ",".join(map(str, size.hidden)), str(size.embedding_dim)]
    peers, ours = [], []
    for _ in range(REPEATS):  # in turn, so that a slow minute of the machine hits both
        peers.append(_json([peer_python, str(_PEER), *arguments]))
        ours.append(_json([sys.executable, "-m", "training.benchmarks.train_speed", "ours", *arguments]))
    trainer, bare = (statistics.median(run[name] for run in peers) for name in ("trainer", "bare"))
    mine, waiting = (statistics.median(run[name] for run in ours) for name in ("rows_per_s", "loader_share"))
    ratio = statistics.median(a["rows_per_s"] / b["trainer"] for a, b in zip(ours, peers, strict=True))
    shape = f"{size.experts} experts {list(size.hidden)}, {size.embedding_dim}-wide"
    return (
        f"| {size.name}: {shape} | {trainer:,.0f} | {bare:,.0f} | {mine:,.0f} | **{ratio:.1f}×** | ≥ {size.goal:g}× "
        f"| {waiting:.1%} |"
    )


def ours(columns: str, experts: str, hidden: str, embedding_dim: str) -> None:
    """Train one epoch and print rows a second, and the share of the time that the loader took."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    split, schema, tasks = _split(Path(columns))
    sizes = ModelConfig(
        embedding_dim=int(embedding_dim),
        hidden=tuple(int(width) for width in hidden.split(",")),
        tower_hidden=(32,),
        num_experts=int(experts),
        dropout=0.0,
    )
    config = TrainConfig(data="bench", arch="mmoe", model=sizes, optim=OptimConfig(batch_requests=BATCH_REQUESTS))
    model = build_model("mmoe", schema, tasks, sizes)
    # As for the peer: libraries pick kernels and fill their pools on the first batches.
    first = islice(shuffled_batches(split, requests=BATCH_REQUESTS, rng=np.random.default_rng(1)), WARM_UP_BATCHES)
    train_epoch(model, first, config)
    timed = _Timed(shuffled_batches(split, requests=BATCH_REQUESTS, rng=np.random.default_rng(0)))
    begin = time.perf_counter()
    train_epoch(model, timed, config)
    seconds = time.perf_counter() - begin
    _print({"rows_per_s": split.num_rows / seconds, "loader_share": timed.seconds / seconds})


class _Timed:
    """Batches, and the seconds that were spent in making them."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            begin = time.perf_counter()
            batch = next(self._batches, None)
            self.seconds += time.perf_counter() - begin
            if batch is None:
                return
            yield batch


def _write_columns(folder: Path) -> Path:
    """Write ids and labels once, flat, as the peer's users hold them."""
    rng = np.random.default_rng(0)
    requests = rng.integers(2, VOCABULARY, size=(ROWS // LIST, REQUEST_FIELDS))
    candidates = rng.integers(2, VOCABULARY, size=(ROWS, CANDIDATE_FIELDS))
    labels = (rng.random((ROWS, TASKS)) < np.linspace(0.02, 0.2, TASKS)).astype(np.float32)
    ids = np.concatenate([np.repeat(requests, LIST, axis=0), candidates], axis=1)
    np.savez(folder / "columns.npz", ids=ids, labels=labels, vocabulary=VOCABULARY)
    return folder / "columns.npz"


def _split(columns: Path) -> tuple[EncodedSplit, FeatureSchema, tuple[BinaryTask, ...]]:
    with np.load(columns) as stored:
        ids, labels = stored["ids"], stored["labels"]
    requests = len(ids) // LIST
    names = [f"f{number}" for number in range(ids.shape[1])]
    schema = FeatureSchema(
        fields=tuple(
            Hashed(
                name=name,
                side="request" if number < REQUEST_FIELDS else "candidate",
                dtype="int",
                table=name,
                buckets=VOCABULARY - 2,
            )
            for number, name in enumerate(names)
        )
    )
    tasks = tuple(BinaryTask(name=f"t{number}") for number in range(labels.shape[1]))
    split = EncodedSplit(
        request=_side(ids[::LIST, :REQUEST_FIELDS]),
        candidate=_side(ids[:, REQUEST_FIELDS:]),
        offsets=np.arange(requests + 1) * LIST,
        labels={task.name: labels[:, number].copy() for number, task in enumerate(tasks)},
        groups=np.zeros(requests, dtype=np.int64),
    )
    return split, schema, tasks


def _side(ids: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> SideArrays:
    return SideArrays(ids=np.ascontiguousarray(ids), dense=np.zeros((len(ids), 0), dtype=np.float32))


def _memory_row(rows: int) -> str:
    result = _json([sys.executable, "-m", "training.benchmarks.train_speed", "memory", str(rows)])
    return f"| {rows:,} | {result['peak_mib']:.0f} | {result['seconds']:.0f} |"


def memory(rows: str) -> None:
    """Simulate, encode and train one epoch; print the peak of anonymous memory."""
    torch.set_num_threads(THREADS)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fulcrum-bench-") as scratch:
        dataset = simulator.prepare(Path(scratch) / "data", rows=int(rows))
        schema = fit_schema(dataset)
        splits = {name: encode_split(dataset, name, schema, Path(scratch) / name) for name in ("train", "validation")}
        config = TrainConfig(data="simulator", arch="mmoe", epochs=1)
        model = build_model("mmoe", schema, declared_tasks(dataset), config.model)
        peak = _Peak()
        fit(model, splits["train"], splits["validation"], config, on_batch=lambda _rows: peak.look())
    _print({"peak_mib": peak.mib, "seconds": time.perf_counter() - begin})


class _Peak:
    """The most anonymous memory seen; mapped files are not in it, the kernel takes their pages back when it must."""

    def __init__(self) -> None:
        self.mib = 0.0
        self.look()

    def look(self) -> None:
        """Read the process' own account."""
        status = Path("/proc/self/status").read_text()
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
        self.mib = max(self.mib, int(kib) / 1024.0)


def _page(lines: list[str], memory_lines: list[str]) -> str:
    return "\n".join(
        [
            "# Training speed",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, 2 cores, no GPU. Written by `make bench-train`.",
            "",
            f"MMoE with {TASKS} binary tasks, {REQUEST_FIELDS} request and {CANDIDATE_FIELDS} candidate fields of "
            f"{VOCABULARY:,} ids each, lists of {LIST}, {ROWS:,} rows, about 2,048 rows a batch, Adam, {THREADS} "
            f"threads. Rows a second after {WARM_UP_BATCHES} batches of warm-up, medians of {REPEATS} runs in turn; "
            "the ratio is the median of the pairs.",
            "",
            "| | torch-rechub's MTLTrainer | a bare loop over its model | Fulcrum | ratio to the trainer | goal "
            "| our loader's share |",
            "|---|---|---|---|---|---|---|",
            *lines,
            "",
            "The same seed gives the same losses as the unfactored layout to 1e-5 "
            "(`pytest tests/unit/training/test_optim.py -k loss_curve`).",
            "",
            "## Memory",
            "",
            "Simulated, written to Parquet, read back by row group, encoded into mapped columns, one epoch of MMoE:",
            "",
            "| rows | peak of anonymous memory, MiB | seconds |",
            "|---|---|---|",
            *memory_lines,
            "",
        ]
    )


def _json(command: list[str]) -> dict[str, float]:
    # Our own interpreters and files, named by the Makefile.
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3_000).stdout  # noqa: S603
    result: dict[str, float] = json.loads(answer.strip().splitlines()[-1])
    return result


def _print(result: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "ours":
        ours(*rest)
    elif command == "memory":
        memory(*rest)
    else:
        main(command, Path(rest[0]))
