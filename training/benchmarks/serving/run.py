"""``make bench``: set the peers up, check that both sides answer alike, measure in turn, write the page."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from training.benchmarks.serving.agree import Ranking, check_same, rank_correlation, read_ours, read_peer
from training.benchmarks.serving.figures import OURS, WORKLOADS, Results
from training.benchmarks.serving.measure import Pace, Side, bare_calls, measure_closed, measure_open
from training.benchmarks.serving.page import Report, draw
from training.benchmarks.serving.peers import PEERS, Peer, PeersMissing, prepare_model, set_up
from training.benchmarks.serving.rows import best_peer
from training.benchmarks.serving.servers import ServerSpec, ServerUnusable, answer_of, free_port, running
from training.benchmarks.serving.wire import post
from training.benchmarks.serving.workloads import Ask, ask_of_peer, ask_of_us, draw_asks
from training.console import console
from training.errors import TrainingError

__all__ = ["main"]

ROOT = Path(__file__).parents[3]
_SIZE, _ASKS, _MIXED_ASKS, _SMALLEST, _LARGEST = 500, 16, 64, 50, 1_000
_RANK = "/v1/rank"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where everything is, and what is asked.

    Args:
        cache: The peers' environments, the naive graph and logs.
        asks: Of 500 candidates each.
        mixed: Of 50 to 1,000.
    """

    harness: Path
    cache: Path
    models: Path
    asks: Sequence[Ask]
    mixed: Sequence[Ask]

    def ours(self) -> Side:
        """Give our side; every ``FULCRUM_*`` variable of the caller reaches it."""
        port = free_port()
        fulcrum = (sys.executable, "-m", "fulcrum", "serve", "--models", str(self.models))
        server = ServerSpec(
            name=OURS,
            command=(*fulcrum, "--port", str(port), "--fusion-store", ":memory:"),
            port=port,
            folder=ROOT,
            environment={"FULCRUM_LOG_LEVEL": os.environ.get("FULCRUM_LOG_LEVEL", "warning")},
        )
        closed = {name: self.to_us(self.asks, model, by_id=by_id) for name, (model, by_id) in WORKLOADS.items()}
        return Side(
            server=server,
            closed={**closed, "alone": closed["inline fp32"]},
            mixed=self.to_us(self.mixed, "peers", by_id=True),
            overload=closed["by id fp32"],
            log=self.cache / f"{OURS}.log",
        )

    def peer(self, peer: Peer) -> Side:
        """Give a peer's side."""
        whole = [post(peer.path, ask_of_peer(ask, peer.body)) for ask in self.asks]
        return Side(
            server=peer.spec(self.cache, self.harness),
            closed={"naive": whole, "alone": whole},
            mixed=[post(peer.path, ask_of_peer(ask, peer.body)) for ask in self.mixed],
            overload=whole,
            log=self.cache / f"{peer.name}.log",
        )

    def to_us(self, asks: Sequence[Ask], model: str, *, by_id: bool) -> list[bytes]:
        """Give whole requests for our server."""
        return [post(_RANK, ask_of_us(ask, model=model, by_id=by_id)) for ask in asks]


def our_rankings(bench: Bench) -> dict[str, Ranking]:
    """Give our answer to the first request in each of our workloads."""
    side, ask = bench.ours(), bench.asks[0]
    with side.running():
        answers = {name: answer_of(side.server.port, side.closed[name][0]).body for name in WORKLOADS}
    return {name: read_ours(body, ask) for name, body in answers.items()}


def agreeing(
    bench: Bench, peers: Sequence[Peer], ours: Mapping[str, Ranking], left_out: dict[str, str]
) -> tuple[dict[Peer, float], dict[str, float]]:
    """Give the largest difference by peer, and the rank correlation of our int8 answers; who cannot start is left out.

    Raises:
        Disagreement: When a peer and our float answers differ.
    """
    differences: dict[Peer, float] = {}
    correlation: dict[str, float] = {}
    for peer in peers:
        side = bench.peer(peer)
        try:
            with running(side.server, side.overload[0], log=side.log) as answer:
                theirs = read_peer(answer.body)
        except ServerUnusable as error:
            left_out[peer.name] = error.detail
            continue
        differences[peer] = max(check_same(peer.name, theirs, ours[name]) for name in ("inline fp32", "by id fp32"))
        correlation = {name: rank_correlation(theirs, ours[name]) for name in ("inline int8", "by id int8")}
        console.print(f"{peer.name} answers as ours does, up to {differences[peer]:.0e}")
    return differences, correlation


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
