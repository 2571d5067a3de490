# ruff: noqa: E501 - lines of the page that it writes
"""The whole promise at its whole size: ``make prove-fusion`` writes docs/benchmarks/control-plane.md.

1,000 revisions by 4 concurrent writers under load from 16 connections: one process on SQLite, then three on a Valkey
that is killed and stays away for a while in the middle.
"""

import platform
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.control_plane import Outcome, change_under_load, wait_until_converged
from tests.e2e.server import ROOT, server
from tests.valkey import ValkeyServer

CHANGES, WRITERS, CONNECTIONS = 1_000, 4, 16
AWAY_S = 3.0
DEMO = ROOT / "models_onnx"


def main(page: Path) -> None:
    """Run both and write the page; end with an error when a promise did not hold."""
    outcomes = {"one process, SQLite": _sqlite(), f"three processes, Valkey killed for {AWAY_S:.0f} s": _valkey()}
    page.write_text(_page(outcomes))
    broken = [name for name, outcome in outcomes.items() if _problems(outcome)]
    sys.exit(f"promises broken: {broken}" if broken else 0)


def _sqlite() -> Outcome:
    with tempfile.TemporaryDirectory() as folder, server(DEMO, Path(folder) / "fusion.sqlite") as running:
        return _run([running.url])


def _valkey() -> Outcome:
    with (
        ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as valkey,
        server(DEMO, valkey.url) as first,
        server(DEMO, valkey.url) as second,
        server(DEMO, valkey.url) as third,
    ):

        def away() -> None:
            valkey.kill()
            threading.Timer(AWAY_S, valkey.start).start()

        outcome = _run([each.url for each in (first, second, third)], halfway=away)
        assert wait_until_converged(first.url) == 3
        return outcome


def _run(urls: list[str], *, halfway: Callable[[], None] = lambda: None) -> Outcome:
    return change_under_load(urls, changes=CHANGES, writers=WRITERS, connections=CONNECTIONS, halfway=halfway)


def _problems(outcome: Outcome) -> list[str]:
    first = outcome.revisions[0]["revision"]
    numbers = [each["revision"] for each in outcome.revisions]
    weights = [each["plan"]["profile"]["weights"]["w"] for each in outcome.revisions]
    held = {
        "no failed request": not outcome.failed,
        "no mixed response": not outcome.mixed,
        "history complete and ordered": numbers == list(range(first, first + CHANGES + 1)),
        "no lost update": weights == [float(number) for number in range(CHANGES + 1)],
    }
    return [promise for promise, holds in held.items() if not holds]


def _page(outcomes: dict[str, Outcome]) -> str:
    lines = [
        "# Fusion changes under load",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, 2 cores with the load beside. Written by `make prove-fusion`:",
        f"{CHANGES:,} revisions by {WRITERS} concurrent writers, each adding 1 to a weight, while {CONNECTIONS} connections rank",
        "without pause. Each answer's scores are recomputed from its heads under the revision that it names.",
        "",
        "| | rank requests | failed | mixed | revisions kept | lost updates | conflicts told (409) | told to wait (503) | revisions met by requests | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(name, outcome) for name, outcome in outcomes.items()),
        "",
        *(f"{name}: promises broken: {', '.join(_problems(outcome)) or 'none'}." for name, outcome in outcomes.items()),
        "",
    ]
    return "\n".join(lines)


def _row(name: str, outcome: Outcome) -> str:
    lost = CHANGES - int(outcome.revisions[-1]["plan"]["profile"]["weights"]["w"])
    cells = (
        f"{outcome.answers:,}", sum(outcome.failed.values()), outcome.mixed, f"{len(outcome.revisions) - 1:,}", lost,
        f"{outcome.refused[409]:,}", f"{outcome.refused[503]:,}", len(outcome.used), f"{outcome.seconds:.0f}",
    )  # fmt: skip
    return f"| {name} | {' | '.join(str(cell) for cell in cells)} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
