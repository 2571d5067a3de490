"""Draws docs/benchmarks/models.md from the runs that are there, misses included."""

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.benchmarks.campaign import Results
from training.benchmarks.lightgbm_runs import ARCH as LIGHTGBM
from training.benchmarks.models import RECIPES

__all__ = ["main"]

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of the test report.

    Args:
        larger_is_better: False for errors.
    """

    task: str
    metric: str
    title: str
    larger_is_better: bool = True


@dataclass(frozen=True, kw_only=True)
class Section:
    """One data set's table.

    Args:
        published: Rows of other people's figures: name to cells, marked as not comparable.
    """

    title: str
    intro: str
    columns: tuple[Column, ...]
    published: Mapping[str, tuple[str, ...]]


def _auc(task: str, title: str) -> Column:
    return Column(task=task, metric="auc", title=f"{title} AUC")


_INCOME = (_auc("income_above_50k", "income"), _auc("never_married", "never married"))
_EDUCATION = (_auc("college", "college"), _auc("never_married", "never married"))
_A = "The official split, 33 of the 40 features (31 inputs)."
_B = "All 40 features (38 inputs); the official test file, two thirds train and validation, one third test."
_INCOME_ELSEWHERE = {
    "*MMoE paper, single-task / shared-bottom / MMoE*": (".9398 / .9361 / .9410", ".9933 / .9915 / .9926"),
    "*PLE paper, single-task / MMoE / PLE*": (".9445 / .9393 / .9522", ".9923 / .9928 / .9945"),
}
SECTIONS = {
    "census-a": Section(
        title="Census-Income, protocol A: income and never married",
        intro=_A,
        columns=_INCOME,
        published=_INCOME_ELSEWHERE,
    ),
    "census-a-education": Section(
        title="Census-Income, protocol A: college and never married", intro=_A, columns=_EDUCATION, published={}
    ),
    "census-b": Section(
        title="Census-Income, protocol B: income and never married",
        intro=_B,
        columns=_INCOME,
        published=_INCOME_ELSEWHERE,
    ),
    "census-b-education": Section(
        title="Census-Income, protocol B: college and never married", intro=_B, columns=_EDUCATION, published={}
    ),
    "kuairand": Section(
        title="KuaiRand",
        intro="Lists are user × day, all features read at a list's first row. Like rates are not natural: the extract "
        "kept only liked or hated rows.",
        columns=(
            _auc("ctr", "click"),
            _auc("long_view", "long view"),
            _auc("like", "like"),
            Column(task="duration", metric="spearman", title="play Spearman"),
            Column(task="duration", metric="mae_log", title="log-play MAE", larger_is_better=False),
        ),
        published={"*LightGBM of the data's README*": (".685", ".688", ".908", ".30", "–")},
    ),
    "ebnerd": Section(
        title="EB-NeRD",
        intro="Test is the whole validation week.",
        columns=(
            Column(task="ctr", metric="auc_within_lists", title="click AUC within impressions"),
            Column(task="ctr", metric="gauc_by_user_row_weighted", title="GAUC by user"),
            Column(task="ctr", metric="ndcg", title="NDCG"),
            _auc("finish", "finish"),
            Column(task="duration", metric="spearman", title="dwell Spearman"),
            Column(task="duration", metric="mae_log", title="log-dwell MAE", larger_is_better=False),
            Column(task="duration", metric="bias_tre", title="dwell bias (TRE)"),
        ),
        published={"*LightGBM of the data's README*": (".723", ".778", ".607", "–", ".31", "1.111", "–")},
    ),
}


def main(results: Path, out: Path) -> None:
    """Write the page."""
    runs = Results(results)
    claims = out.with_name("claims.md")  # kept by hand: what is claimed elsewhere, with its command
    parts = [_head(runs), *([claims.read_text()] if claims.is_file() else [])]
    for name, section in SECTIONS.items():
        records = runs.of(name, "final")
        if any(record["arch"] != LIGHTGBM for record in records):
            parts.append(_section(name, section, records))
    out.write_text("\n".join(parts))


def _head(runs: Results) -> str:
    dates = sorted({record["date"] for record in runs.records})
    return f"""# Models compared

Runs of {dates[0]} to {dates[-1]}, {platform.machine()}, 2 cores, no GPU. Written by `make bench-models` from
[models.jsonl](models.jsonl), which holds every run with its seed, learning rate and commit.

Each architecture has one budget: {len(RECIPES["census-a"].grid)} learning rates, one seed each, judged on validation;
all else is the same (`training/benchmarks/models.py`). Figures are of the test split, mean ± standard deviation over
the seeds. LightGBM is one model a task on the same inputs, stopped on validation, its seeds varying bagging. Rows in
italics are other people's figures on **other features or splits**: they say what is usual, not who wins.
"""


def _section(name: str, section: Section, records: Records) -> str:
    by_arch: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_arch.setdefault(record["arch"], []).append(record)
    titles = " | ".join(column.title for column in section.columns)
    lines = [
        f"## {section.title}",
        "",
        f"{section.intro} `python -m training.benchmarks.models --sets {name}`.",
        "",
        f"| | {titles} | seeds | learning rate | parameters | seconds a run |",
        "|" + "---|" * (len(section.columns) + 5),
        *(_row(arch, runs, section, by_arch) for arch, runs in sorted(by_arch.items(), key=_first_value(section))),
        *(_published_row(label, cells) for label, cells in section.published.items()),
        "",
        *_claims(section, by_arch),
        "",
    ]
    return "\n".join(lines)


def _first_value(section: Section) -> Any:
    first = section.columns[0]
    return lambda item: -float(np.mean(_values(item[1], first)))


def _row(arch: str, runs: Records, section: Section, by_arch: Mapping[str, Records]) -> str:
    cells = [_cell(arch, column, by_arch) for column in section.columns]
    parameters = "–" if runs[0]["parameters"] is None else f"{runs[0]['parameters']:,}"
    seconds = float(np.median([run["seconds"] for run in runs]))
    label = "LightGBM" if arch == LIGHTGBM else f"`{arch}`"
    return (
        f"| {label} | {' | '.join(cells)} | {len(runs)} | {runs[0]['learning_rate']:g} | {parameters} | {seconds:.0f} |"
    )


def _cell(arch: str, column: Column, by_arch: Mapping[str, Records]) -> str:
    values = _values(by_arch[arch], column)
    if not len(values):
        return "–"
    text = f"{values.mean():.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")  # one run has no spread
    return f"**{text}**" if arch == _best(column, by_arch) else text


def _published_row(label: str, cells: Iterable[str]) -> str:
    return f"| {label} | {' | '.join(cells)} | | | | |"


def _values(runs: Records, column: Column) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = [run["test"].get(column.task, {}).get(column.metric) for run in runs]
    return np.array([value for value in found if value is not None], dtype=np.float64)


def _best(column: Column, by_arch: Mapping[str, Records], *, ours: bool = False) -> str:
    sign = 1.0 if column.larger_is_better else -1.0
    if column.metric == "bias_tre":
        return min(by_arch, key=lambda arch: abs(float(np.mean(_values(by_arch[arch], column)))))
    means = {
        arch: sign * float(values.mean())
        for arch, runs in by_arch.items()
        if len(values := _values(runs, column)) and not (ours and arch == LIGHTGBM)
    }
    return max(means, key=lambda arch: means[arch])


def _claims(section: Section, by_arch: Mapping[str, Records]) -> Iterable[str]:
    """Say, number by number, whether our best beats LightGBM, and who loses to the plain baselines."""
    for column in section.columns:
        if column.metric == "bias_tre":
            continue
        best = _best(column, by_arch, ours=True)
        mine, bar = _values(by_arch[best], column), _values(by_arch.get(LIGHTGBM, []), column)
        if len(bar):
            difference = (mine.mean() - bar.mean()) * (1.0 if column.larger_is_better else -1.0)
            verdict = "beats" if difference > 0 else "does not beat"
            yield f"- {column.title}: our best mean, `{best}`, {verdict} LightGBM by {difference:+.4f}."
    losses = [loss for column in section.columns for loss in _losses(column, by_arch)]
    yield (
        "- MMoE, CGC and PLE against shared-bottom and single-task, beyond one standard error: "
        + ("; ".join(losses) if losses else "none of them loses on any task")
        + "."
    )


def _losses(column: Column, by_arch: Mapping[str, Records]) -> Iterable[str]:
    if column.metric == "bias_tre":
        return
    sign = 1.0 if column.larger_is_better else -1.0
    for arch in ("mmoe", "cgc", "ple"):
        for baseline in ("shared_bottom", "single_task"):
            a, b = _values(by_arch.get(arch, []), column), _values(by_arch.get(baseline, []), column)
            if len(a) < 2 or len(b) < 2:
                continue
            error = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
            behind = float(b.mean() - a.mean()) * sign
            if behind > error:
                yield f"`{arch}` loses to `{baseline}` on {column.title} by {behind:.4f} (standard error {error:.4f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
