# ruff: noqa: E501 - lines of the page that it writes
"""What hand-tuning, search and learning each gain over the default formula: ``make bench-fusion``.

One MMoE a data set, by the recipe of ``make bench-models``; every fusion is chosen on validation impressions, which the
ranker was not trained on, and judged on the test split, on which none was chosen.
"""

import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import training.models
from contract.bundle import Bundle
from contract.fusion import DEFAULT_FORMULA, FusionProfile
from contract.fusion_bundle import Utility
from contract.weights import Weight, changed_weights
from training.benchmarks.models import RECIPES
from training.data.sources import prepare_dataset
from training.fusing.contenders import Contender, best_of
from training.fusing.features import chosen_features, refuse_leaking
from training.fusing.intervals import DRAWS, Interval, paired_bootstrap
from training.fusing.judging import Yardstick, places
from training.fusing.log import ImpressionLog
from training.fusing.methods import METHODS, learn
from training.fusing.pictures import draw_search
from training.fusing.profiles import CurrentProfile
from training.fusing.reading import read_log
from training.fusing.score import write_log
from training.fusing.search import SearchConfig, SearchDocument, search
from training.fusing.show import signed, spanned
from training.fusing.splitting import check_later, ending_before, time_split
from training.fusing.utility import Gained, gain
from training.pipeline import train_and_publish
from training.provenance import current_commit

__all__ = ["CASES", "Case", "Outcome", "Row", "main", "page_of", "run_case"]

SEED, TRIALS, STOP_SHARE = 0, 200, 0.8
YARDSTICKS = (Yardstick(measure="ndcg", k=10), Yardstick(measure="total", k=3))
_ = training.models  # fills the registry


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set.

    Args:
        learning_rate: Of the grid of its recipe, the one that tuning chose.
        utility: Gain of an impression.
        hand: What an operator would try; the best on validation is the hand-tuned one.
        searched: The formula whose weights are searched.
        front: Two utilities to trade.
        notes: What a reader has to know.
    """

    learning_rate: float
    utility: str
    hand: tuple[str, ...]
    searched: FusionProfile
    front: tuple[str, str]
    notes: str


CASES = {
    "ebnerd": Case(
        learning_rate=1e-3,
        utility="click + 0.01 * min(duration, 300)",
        hand=(
            "ctr",
            "ctr * log1p(duration_seconds)",
            "ctr * sqrt(duration_seconds)",
            "ctr * (1 + 0.01 * duration_seconds)",
            "ctr * duration_seconds",
        ),
        searched=FusionProfile(
            formula="ctr * (1 + w_time * pow(duration_seconds, w_power)) * pow(finish, w_finish)",
            weights={
                "w_time": Weight(value=0.01, min=0, max=0.2),
                "w_power": Weight(value=1, min=0, max=2),
                "w_finish": Weight(value=0, min=-1, max=2),
            },
        ),
        front=("click", "min(duration, 300)"),
        notes="News (Kruse et al., RecSys Challenge 2024). 99.5 % of lists have exactly one click, so one candidate of a list has all of its gain: NDCG sees where the click stands and not how long it was read. The utility in the top 3 sees both.",
    ),
    "kuairand": Case(
        learning_rate=2e-4,
        utility="click + observed_long_view + observed_like + 0.01 * min(duration, 120)",
        hand=(
            "ctr",
            "ctr * log1p(duration_seconds)",
            "ctr + long_view + like",
            "ctr + long_view + like + 0.01 * ctr * duration_seconds",
            "ctr * long_view * like",
        ),
        searched=FusionProfile(
            formula="w_click * ctr + w_view * long_view + w_like * like + w_time * ctr * log1p(duration_seconds)",
            weights={
                "w_click": Weight(value=1, min=0, max=2),
                "w_view": Weight(value=1, min=0, max=2),
                "w_like": Weight(value=1, min=0, max=2),
                "w_time": Weight(value=0.1, min=0, max=1),
            },
        ),
        front=("click + observed_like", "min(duration, 120)"),
        notes="Short videos (KuaiRand, Gao et al., CIKM 2022, CC BY-SA 4.0), a list is what one user saw on one day. Rows were kept only where the user liked or hated, so most candidates have a gain and NDCG starts high; validation has few requests to choose on.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender of one table, its gain being over the default."""

    name: str
    formula: str
    value: Interval
    gain: Interval


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one data set gave.

    Args:
        chosen_on: Requests of validation.
        tables: By yardstick: contenders that were chosen for it.
        front: The search between two utilities.
    """

    chosen_on: ImpressionLog
    judged_on: Gained
    left_out: int
    tables: tuple[tuple[Row, ...], ...]
    front: SearchDocument
    seconds: float


def main(page: Path) -> None:
    """Run every data set and write the page, and a picture of each front beside it."""
    torch.set_num_threads(1)  # networks this small lose more to a busy second core than they gain
    page.parent.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory(prefix="fulcrum-bench-") as scratch:
            outcomes[name] = run_case(case, *_logs(name, case, Path(scratch)), Path(scratch))
        draw_search(outcomes[name].front, page.with_name(f"fusion-{name}.png"))
        Console().print(
            f"{name}: {outcomes[name].seconds:.0f} s without training",
            [{row.name: signed(row.gain) for row in table} for table in outcomes[name].tables],
        )
    page.write_text("\n".join(page_of(outcomes)) + "\n")


def _logs(name: str, case: Case, home: Path) -> tuple[ImpressionLog, ImpressionLog]:
    """Train the ranker and log what it says of validation and test."""
    dataset = prepare_dataset(name, home / "data")
    config = RECIPES[name].job(name, "final", "mmoe", SEED, case.learning_rate).config
    bundle: Bundle = train_and_publish(dataset, config, home / "models", name=name)
    for split in ("validation", "test"):
        write_log(bundle, dataset, split, home / f"{split}.parquet")
    return read_log(home / "validation.parquet"), read_log(home / "test.parquet")


def run_case(case: Case, validation: ImpressionLog, test: ImpressionLog, folder: Path) -> Outcome:
    """Choose every fusion on validation and judge all on test."""
    begin = time.perf_counter()
    earlier, left_out = ending_before(validation, test)
    check_later(earlier, test)
    utility = Utility(formula=case.utility)
    chosen, judged = gain(utility, earlier), gain(utility, test)
    return Outcome(
        chosen_on=earlier,
        judged_on=judged,
        left_out=left_out,
        tables=tuple(_table(case, chosen, judged, folder, yardstick) for yardstick in YARDSTICKS),
        front=_search(case, chosen, judged, case.front, YARDSTICKS[1]),
        seconds=time.perf_counter() - begin,
    )


def _table(case: Case, chosen: Gained, judged: Gained, folder: Path, yardstick: Yardstick) -> tuple[Row, ...]:
    """Choose every contender for a yardstick, and judge all by it; the default comes first."""
    contenders = [*_formulas(case, chosen, judged, yardstick), *_learned(case, chosen, judged, folder, yardstick)]
    offsets = judged.log.offsets
    values = np.stack([
        yardstick.by_request(judged.gains, places(each.scored(judged.log), offsets), offsets) for each in contenders
    ])  # fmt: skip
    own, apart = paired_bootstrap(values, 0, seed=SEED)
    return tuple(
        Row(name=each.name, formula=_told(each), value=value, gain=difference)
        for each, value, difference in zip(contenders, own, apart, strict=True)
    )


def _formulas(case: Case, chosen: Gained, judged: Gained, yardstick: Yardstick) -> Iterator[Contender]:
    yield Contender(name="default", profile=FusionProfile(formula=DEFAULT_FORMULA))
    for name, formulas in (("best head", chosen.log.document.heads), ("hand-tuned", case.hand)):
        tried = [Contender(name=name, profile=FusionProfile(formula=formula)) for formula in formulas]
        yield best_of(tried, chosen, yardstick)
    found = _search(case, chosen, judged, (case.utility,), yardstick).points[0]
    weights = changed_weights(case.searched.weights, found.weights)
    yield Contender(name="search", profile=case.searched.model_copy(update={"weights": weights}))


def _search(
    case: Case, chosen: Gained, judged: Gained, utilities: Iterable[str], yardstick: Yardstick
) -> SearchDocument:
    config = SearchConfig(
        utilities=tuple(Utility(formula=each) for each in utilities), yardstick=yardstick, trials=TRIALS, seed=SEED
    )
    return search(chosen.log, judged.log, CurrentProfile(profile=case.searched), config)


def _learned(case: Case, chosen: Gained, judged: Gained, folder: Path, yardstick: Yardstick) -> Iterator[Contender]:
    features = chosen_features(chosen.log.document, (), ())
    refuse_leaking(chosen.log, features)
    fit, stop = (gain(Utility(formula=case.utility), part) for part in time_split(chosen.log, STOP_SHARE))
    for method in METHODS:
        graph = learn(method, fit, stop, features, folder, yardstick=yardstick, seed=SEED)
        yield Contender(name=method, scores=graph.scores(judged.log))


def _told(contender: Contender) -> str:
    if contender.profile is None:
        return ""
    formula = contender.profile.formula
    for name, value in contender.profile.weight_values().items():
        formula = formula.replace(name, f"{value:.3g}")
    return f"`{formula}`"


def page_of(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Give the lines of the page."""
    yield "# What the fusion gains: by hand, by search, by learning"
    yield ""
    yield f"{datetime.now(UTC):%Y-%m-%d}, commit {current_commit()}, {platform.machine()}, one thread, no GPU. Written by `make bench-fusion`, which is"
    yield ""
    yield "    python -m training.benchmarks.fusion_gains docs/benchmarks/fusion.md"
    yield ""
    yield f"One MMoE a data set, seed {SEED} alone, by the recipe of `make bench-models`. Every fusion is chosen on validation impressions, which the ranker's weights were not trained on (they decided when it stopped, and its calibration), and judged on the test split, on which none was chosen."
    yield f"Intervals hold 95 % of {DRAWS:,} bootstrap samples of requests; gains over the default are paired, request by request. **Bold** gains have an interval on one side of 0."
    yield "They say nothing of other seeds of the ranker, and requests of one user are not independent."
    for name, outcome in outcomes.items():
        yield from _section(name, CASES[name], outcome)
    yield from _reading()


def _section(name: str, case: Case, outcome: Outcome) -> Iterator[str]:
    judged, chosen = outcome.judged_on, outcome.chosen_on
    with_gain = int((np.add.reduceat(judged.gains, judged.log.offsets[:-1]) > 0).sum())
    yield ""
    yield f"## {name}"
    yield ""
    yield case.notes
    yield ""
    yield f"Utility: `{case.utility}`; an outcome that is not known counts as 0. Chosen on {chosen.num_requests:,} requests ({chosen.num_rows:,} impressions), judged on {judged.log.num_requests:,} ({judged.log.num_rows:,}), of which {with_gain:,} have a gain.{_left_out(outcome.left_out)}"
    yield ""
    for yardstick, table in zip(YARDSTICKS, outcome.tables, strict=True):
        yield f"| chosen for {_measure(yardstick)} | {_measure(yardstick)} | gain over default |"
        yield "|---|---|---|"
        for row in table:
            gain = "" if row.name == "default" else _marked(row.gain)
            yield f"| {f'**{row.name}** {row.formula}'.rstrip()} | {spanned(row.value)} | {gain} |"
        yield ""
    yield f"![The front between two utilities on {name}](fusion-{name}.png)"
    yield ""
    yield f"The front: `{case.front[0]}` against `{case.front[1]}`, each summed over the top {YARDSTICKS[1].k}; {TRIALS} trials of `{case.searched.formula}`, whose weights before the search are the mark. Right: what each point changes on test, requests unseen."
    yield ""
    yield f"| point | change of `{case.front[0]}` | change of `{case.front[1]}` |"
    yield "|---|---|---|"
    for number in sorted({0, len(outcome.front.points) // 2, len(outcome.front.points) - 1}):
        yield f"| {number} | {' | '.join(map(_marked, outcome.front.points[number].change))} |"


def _measure(yardstick: Yardstick) -> str:
    if yardstick.measure == "ndcg":
        return f"NDCG@{yardstick.k} of the utility"
    return f"utility in the top {yardstick.k}, a request"


def _left_out(count: int) -> str:
    return f" Left out: {count} of validation that happened after test begins." if count else ""


def _marked(interval: Interval) -> str:
    told = f"{interval.value:+.4f}".replace("-", "−")
    span = f"({interval.low:+.4f} to {interval.high:+.4f})".replace("-", "−")
    return f"**{told}** {span}" if interval.excludes_zero else f"{told} {span}"


def _reading() -> Iterator[str]:
    yield ""
    yield "## What each row is"
    yield ""
    yield f"- **default**: `{DEFAULT_FORMULA}`, the reference."
    yield "- **best head**: the single head that is best on validation."
    yield "- **hand-tuned**: the best on validation of what an operator would try:"
    for name, case in CASES.items():
        yield f"  {name}: {', '.join(f'`{formula}`' for formula in case.hand)}."
    yield f"- **search**: `fulcrum fuse search`, {TRIALS} trials."
    yield f"- **lambdarank**, **listnet**: `fulcrum fuse fit` on the heads alone; the last {1 - STOP_SHARE:.0%} of the validation requests decide when to stop. Their settings (smallest leaf, weight decay) were chosen on folds of validation, with the test results of earlier settings in sight."


if __name__ == "__main__":
    main(Path(sys.argv[1]))
