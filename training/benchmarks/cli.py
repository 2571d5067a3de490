"""``fulcrum bench``: what measuring needs beside a running server."""

from pathlib import Path
from typing import Annotated

import typer

from training.benchmarks.peers_bundle import ITEMS, publish_peers, read_peers
from training.console import console

__all__ = ["bench"]

bench = typer.Typer(help="Prepare what benchmarks measure.", no_args_is_help=True)


@bench.callback()
def _group() -> None:
    """Keep the group a group while it has one command."""


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
