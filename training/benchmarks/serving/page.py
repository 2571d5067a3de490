# ruff: noqa: E501 - lines of the page that it writes
"""docs/benchmarks/serving.md from a report: each goal with both figures, met or missed."""

import math

from contract.frozen import Frozen
from training.benchmarks.serving.figures import Results
from training.benchmarks.serving.rows import Row, rows_of

__all__ = ["Report", "draw"]


_OK = 200


class Report(Frozen):
    """A run, and where it was.

    Args:
        load_average: One-minute load of the machine before the run, and after it.
        versions: By package; peers' under their name.
        left_out: Why a peer is not in it, by name.
    """

    date: str
    machine: str
    cores: int
    load_average: tuple[float, float]
    versions: dict[str, str]
    seconds: float
    rounds: int
    left_out: dict[str, str]
    results: Results


def draw(report: Report) -> str:
    """Give the page."""
    rows = rows_of(report.results)
    missed = sum(not row.met for row in rows)
    lines = [
        "# Serving beside the peers",
        "",
        "Written by `make bench`; the raw figures are in [serving.json](serving.json).",
        "",
        f"{report.date}, {report.machine}, {report.cores} cores. {_versions(report)}.",
        _quiet(report),
        "",
        f"{report.rounds} round{'s' * (report.rounds > 1)} of {report.seconds:g} s a measurement, medians of the rounds. Each server is started for its turn; sides take turns",
        "within a round, and every other round runs backwards. One client drives all of them from the same machine, so it takes its part of the cores.",
        "500 candidates and 4 heads where nothing else stands. Open-loop latencies count from the moment when a request was due, so a refusal's time",
        "holds the client's own delay on the shared cores.",
        "",
        f"**{len(rows) - missed} of {len(rows)} goals met, {missed} missed.**",
        "",
        "| workload | unit | ours | best peer | which | ratio | goal | |",
        "|---|---|---|---|---|---|---|---|",
        *map(_line, rows),
        "",
        _unanswered(report.results),
        "",
        *_answers(report.results),
        "",
        *_left_out(report),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row) -> str:
    verdict = "met" if row.met else "**missed**"
    figures = (_number(row.ours), _number(row.theirs), row.rival, _number(row.ratio), row.goal, verdict)
    return f"| {row.workload} | {row.unit} | {' | '.join(figures)} |"


def _number(value: float | None) -> str:
    if value is None or math.isinf(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _versions(report: Report) -> str:
    return ", ".join(f"{name} {version}" for name, version in report.versions.items())


def _quiet(report: Report) -> str:
    before, after = report.load_average
    said = f"The machine's load was {before:.1f} before the run and {after:.1f} after it."
    if before > 0.5 * report.cores:
        said += " **Others were working on it: trust the ratios little and the figures less.**"
    return said


def _answers(results: Results) -> list[str]:
    same = ", ".join(f"{name} {difference:.0e}" for name, difference in results.agreement.items())
    ranks = ", ".join(f"{name} {value:.4f}" for name, value in results.int8_correlation.items())
    return [
        "Before any timing both sides got the same requests. Order equal, largest difference of a score from ours in fp32, inline and by id:",
        f"{same}. Rank correlation of our int8 order with the peers' order: {ranks}.",
        "The weights are random: nothing is learnt, so int8's loss of AUC cannot be read here; it is checked where a model is exported.",
    ]


def _unanswered(results: Results) -> str:
    lost = {each.side: [0, 0] for each in results.closed}
    for each in results.closed:
        lost[each.side][0] += sum(count for status, count in each.statuses.items() if status != _OK)
        lost[each.side][1] += sum(each.statuses.values())
    shares = ", ".join(f"{side} {bad / max(1, every):.1%}" for side, (bad, every) in lost.items())
    return (
        f"Rates count answers with status 200 alone. Of all requests in the closed loops got another status: {shares}."
    )


def _left_out(report: Report) -> list[str]:
    if not report.left_out:
        return ["No peer was left out."]
    return ["Left out:", "", *(f"- {name}: {reason}" for name, reason in report.left_out.items())]
