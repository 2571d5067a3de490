"""``fulcrum bench``: what measuring needs beside a running server."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.benchmarks.graph_speed import time_graphs
from training.benchmarks.peers_bundle import ITEMS, publish_peers, read_peers
from training.console import console

__all__ = ["bench"]

bench = typer.Typer(help="Prepare what benchmarks measure.", no_args_is_help=True)


@bench.command("import-peers")
def import_peers(
    weights: Annotated[Path, typer.Argument(help="naive.pt, which shared/peers/make_model.py writes.")],
    out: Annotated[Path, typer.Option(help="Models folder to publish into.")] = Path("models"),
    seed: Annotated[int, typer.Option(help="Of the random item table.")] = 0,
) -> None:
    """Publish the peers' network as two bundles, in float and with 8-bit weights: both sides serve the same."""
    peers = read_peers(weights)
    for name, int8 in (("peers", False), ("peers-int8", True)):
        bundle = publish_peers(peers, out, name=name, seed=seed, int8=int8)
        console.print(f"published {bundle.path} with {ITEMS:,} items")
    console.print(f"serve them with: fulcrum serve --models {out}")


@bench.command()
def graphs(
    naive: Annotated[Path, typer.Argument(help="naive.onnx, which shared/peers/make_model.py writes.")],
    models: Annotated[Path, typer.Option(help="Folder that import-peers published into.")] = Path("models"),
    threads: Annotated[int, typer.Option(min=1, help="Of each graph call.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Calls of each graph.")] = 60,
) -> None:
    """Time the naive graph and ours in one process, each in turn; 500 candidates, one request."""
    timings = time_graphs(naive, models, threads=threads, rounds=rounds)
    table = Table("graph", "cpu ms", "times naive", "wall ms", "times naive", "largest difference")
    for each in timings:
        ratios = (timings[0].cpu_ms / each.cpu_ms, timings[0].wall_ms / each.wall_ms)
        cpu, wall = (f"{ratio:.2f}" for ratio in ratios)
        table.add_row(each.name, f"{each.cpu_ms:.2f}", cpu, f"{each.wall_ms:.2f}", wall, f"{each.difference:.1e}")
    Console(width=100).print(table)
