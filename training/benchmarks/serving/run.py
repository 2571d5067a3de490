"""``make bench``: set the peers up, check that both sides answer alike, measure in turn, write the page."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from training.benchmarks.serving.figures import OURS, Results
from training.benchmarks.serving.measure import Pace, bare_calls, measure_closed, measure_open
from training.benchmarks.serving.page import Report, draw
from training.benchmarks.serving.peers import PEERS, Peer, PeersMissing, prepare_model, set_up
from training.benchmarks.serving.rows import best_peer
from training.benchmarks.serving.sides import ROOT, Bench, agreeing, our_rankings
from training.benchmarks.serving.workloads import draw_asks
from training.console import console
from training.errors import TrainingError

__all__ = ["main"]

_SIZE, _ASKS, _MIXED_ASKS, _SMALLEST, _LARGEST = 500, 16, 64, 50, 1_000


def measure(bench: Bench, peers: Mapping[Peer, float], correlation: dict[str, float], pace: Pace) -> Results:
    """Measure all sides in turn; the open loops with the best peer alone."""
    sides = {OURS: bench.ours(), **{peer.name: bench.peer(peer) for peer in peers}}

    def bare() -> float:
        return bare_calls(bench.cache / "naive.onnx", bench.asks[0], pace.seconds)

    closed, calls = measure_closed(list(sides.values()), pace, bare, console.print)
    results = Results(
        closed=tuple(closed),
        mixed=(),
        overload=(),
        bare=tuple(calls),
        agreement={peer.name: difference for peer, difference in peers.items()},
        int8_correlation=correlation,
    )
    mixed, overload = measure_open([sides[OURS], sides[best_peer(results)]], pace, console.print)
    return results.model_copy(update={"mixed": tuple(mixed), "overload": tuple(overload)})


def main(
    page: Annotated[Path, typer.Argument(help="Page to write; the raw figures go beside it as JSON.")],
    seconds: Annotated[float, typer.Option(min=0.2, help="Of each measurement.")] = 8.0,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side; the figures are their medians.")] = 5,
    peers: Annotated[str, typer.Option(help="Names, with commas between.")] = ",".join(PEERS),
    cache: Annotated[Path, typer.Option(help="Peers' environments and the models.")] = ROOT / "var/bench/peers",
    harness: Annotated[Path, typer.Option(help="The folder shared/peers.")] = ROOT.parent / "shared/peers",
    quick: Annotated[bool, typer.Option("--quick", help="One round of half a second: to see that all runs.")] = False,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw the page from its JSON; measure nothing.")] = False,
) -> None:
    """Measure our server beside the peers and write the page."""
    figures = page.with_suffix(".json")
    if redraw:
        page.write_text(draw(Report.model_validate_json(figures.read_bytes())))
        return
    pace = Pace(seconds=0.5, rounds=1, warm_up_s=0.2) if quick else Pace(seconds=seconds, rounds=rounds, warm_up_s=2.0)
    try:
        report = _report(cache.resolve(), harness.resolve(), _named(peers), pace)
    except TrainingError as error:
        console.print(f"[red]error:[/] {error.detail}\n{error.fix}", soft_wrap=True)
        raise typer.Exit(1) from error
    page.write_text(draw(report))
    figures.write_text(report.model_dump_json(indent=1) + "\n")
    console.print(page.read_text(), markup=False, soft_wrap=True)


def _named(peers: str) -> list[Peer]:
    names = [name.strip() for name in peers.split(",") if name.strip()]
    if unknown := [name for name in names if name not in PEERS]:
        raise typer.BadParameter(f"unknown peers {', '.join(unknown)}; known: {', '.join(PEERS)}")
    return [PEERS[name] for name in names]


def _report(cache: Path, harness: Path, peers: Sequence[Peer], pace: Pace) -> Report:
    models = cache.parent / "models"
    prepare_model(harness, cache, models)
    usable, left_out = set_up(peers, cache)
    left_out |= {name: "not asked for" for name in PEERS if name not in {peer.name for peer in peers}}
    for name, reason in left_out.items():
        console.print(f"{name} is left out: {reason}")
    bench = _bench(cache, harness, models)
    before = os.getloadavg()[0]
    differences, correlation = agreeing(bench, usable, our_rankings(bench), left_out)
    if not differences:
        raise PeersMissing("no peer could be set up", fix="see the reasons above")
    results = measure(bench, differences, correlation, pace)
    return Report(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=_machine(),
        cores=len(os.sched_getaffinity(0)),
        load_average=(before, os.getloadavg()[0]),
        versions=_versions(cache, differences),
        seconds=pace.seconds,
        rounds=pace.rounds,
        left_out=left_out,
        results=results,
    )


def _bench(cache: Path, harness: Path, models: Path) -> Bench:
    table = sorted(models.glob("peers/*/items.parquet"))[-1]
    sizes = np.random.default_rng(7).integers(_SMALLEST, _LARGEST + 1, _MIXED_ASKS).tolist()
    return Bench(
        harness=harness,
        cache=cache,
        models=models,
        asks=draw_asks(table, [_SIZE] * _ASKS),
        mixed=draw_asks(table, sizes, seed=1),
    )


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.machine()


def _versions(cache: Path, peers: Mapping[Peer, float]) -> dict[str, str]:
    versions = {
        "Python": platform.python_version(),
        "ONNX Runtime": importlib.metadata.version("onnxruntime"),
        "NumPy": importlib.metadata.version("numpy"),
    }
    for peer in peers:
        folders = [str(folder) for folder in (cache / peer.name).glob("lib/python*/site-packages")]
        found = importlib.metadata.distributions(name=peer.packages[0], path=folders)
        versions[peer.name] = next((each.version for each in found), "of unknown version")
    return versions


if __name__ == "__main__":
    typer.run(main)
