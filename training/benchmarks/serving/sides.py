"""Both sides as they are run here, and the check that they give the same answer."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.benchmarks.serving.agree import Ranking, check_same, rank_correlation, read_ours, read_peer
from training.benchmarks.serving.figures import OURS, WORKLOADS
from training.benchmarks.serving.measure import Side
from training.benchmarks.serving.peers import Peer
from training.benchmarks.serving.servers import ServerSpec, ServerUnusable, answer_of, free_port, running
from training.benchmarks.serving.wire import post
from training.benchmarks.serving.workloads import Ask, ask_of_peer, ask_of_us
from training.console import console

__all__ = ["ROOT", "Bench", "agreeing", "our_rankings"]

ROOT = Path(__file__).parents[3]
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
