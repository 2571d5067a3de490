"""A learned fusion from logged impressions to a published bundle, step by step."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from contract.frozen import Frozen
from contract.fusion import FusionProfile
from contract.fusion_bundle import (
    FUSION_FILE,
    GOLDEN_FILE,
    REPORT_FILE,
    FusionBundle,
    FusionFeature,
    FusionGolden,
    FusionManifest,
    Utility,
    publish_fusion,
)
from training.errors import InvalidOption, UtilityError
from training.fusing.contenders import Comparison, Contender, compare, formula_contenders, mean_of
from training.fusing.features import chosen_features, feature_matrix, refuse_leaking
from training.fusing.graphs import graph_scores
from training.fusing.judging import Yardstick
from training.fusing.log import ImpressionLog
from training.fusing.methods import METHODS, FusionGraph, Method, learn
from training.fusing.splitting import check_later, time_split
from training.fusing.utility import Gained, gain
from training.provenance import provenance

__all__ = ["FitConfig", "FitReport", "fit_and_publish"]

_STOP_SHARE = 0.8
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_GOLDEN_REQUESTS = 4


class FitConfig(Frozen):
    """A whole run; kept in the manifest.

    Args:
        heads: Inputs; every head of the log where none is named.
        fields: More inputs.
        method: Which of the two is published; ``best`` takes the one that is better on the last fifth of the requests
            to fit on, never on those that it is judged on.
        yardstick: What it is fitted for and judged by.
    """

    name: str
    utility: Utility
    heads: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    method: Literal["best", "lambdarank", "listnet"] = "best"
    yardstick: Yardstick = Yardstick()
    seed: int = 0
    allow_leaks: tuple[str, ...] = ()
    command: str = ""


class FitReport(Frozen):
    """What a run found.

    Args:
        published: Method of the bundle.
        stopped_on: How good each method is on the requests that decided when to stop.
        parity: Largest difference of each method's graph from what it was made from.
        comparison: On later requests, which nothing was fitted on.
    """

    utility: Utility
    features: tuple[FusionFeature, ...]
    published: Method
    fitted_requests: int
    fitted_rows: int
    stopped_on: dict[str, float]
    parity: dict[str, float]
    comparison: Comparison


def fit_and_publish(
    earlier: ImpressionLog,
    later: ImpressionLog,
    config: FitConfig,
    fusions: Path,
    *,
    current: FusionProfile | None = None,
    found: FusionProfile | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> FusionBundle:
    """Fit both methods on earlier requests, judge them and the formulas on later ones, and publish one.

    Args:
        current: The profile in force; differences are from it where it is given.
        found: The best formula of a search, to compare with.
        stage: Told what begins.

    Raises:
        TrainingError: Of any kind; nothing is published then.
    """
    if not re.fullmatch(_NAME, config.name):
        raise InvalidOption(f"a fusion cannot be named {config.name!r}", fix="take 1 to 64 letters, digits, and _ . -")
    check_later(earlier, later)
    features = chosen_features(earlier.document, config.heads, config.fields)
    refuse_leaking(earlier, features, allowed=config.allow_leaks)
    whole, judged = gain(config.utility, earlier), gain(config.utility, later)
    fit, stop = (_with_gains(config.utility, part) for part in time_split(whole.log, _STOP_SHARE))
    with publish_fusion(fusions, config.name) as draft:
        trained = []
        for method in METHODS:
            stage(f"fitting {method}")
            trained.append(learn(method, fit, stop, features, draft.path, yardstick=config.yardstick, seed=config.seed))
        stage("judging")
        report = _report(config, features, whole, stop, judged, trained, current, found)
        _keep_one(trained, report.published, draft.path)
        _golden(judged.log, features, draft.path).save(draft.path / GOLDEN_FILE)
        (draft.path / REPORT_FILE).write_text(report.model_dump_json(indent=1) + "\n")
        draft.write_manifest(_manifest(config, features, earlier, report, draft.files()))
    return draft.bundle


def _with_gains(utility: Utility, log: ImpressionLog) -> Gained:
    try:
        return gain(utility, log)
    except UtilityError as error:
        raise UtilityError(f"of {log.num_requests} requests: {error.detail}", fix=error.fix) from None


def _report(
    config: FitConfig,
    features: tuple[FusionFeature, ...],
    whole: Gained,
    stop: Gained,
    judged: Gained,
    trained: Sequence[FusionGraph],
    current: FusionProfile | None,
    found: FusionProfile | None,
) -> FitReport:
    stopped_on = {each.method: mean_of(each.scores(stop.log), stop, config.yardstick) for each in trained}
    best = max(METHODS, key=lambda method: stopped_on[method])
    contenders = formula_contenders(whole, config.yardstick, current=current, found=found)
    names = [each.name for each in contenders]
    reference = next((name for name in ("current profile", "default") if name in names), names[0])
    contenders += [Contender(name=each.method, scores=each.scores(judged.log)) for each in trained]
    return FitReport(
        utility=config.utility,
        features=features,
        published=best if config.method == "best" else config.method,
        fitted_requests=whole.log.num_requests,
        fitted_rows=whole.log.num_rows,
        stopped_on=stopped_on,
        parity={each.method: each.parity for each in trained},
        comparison=compare(contenders, judged, config.yardstick, reference=reference, seed=config.seed),
    )


def _keep_one(trained: Sequence[FusionGraph], method: str, folder: Path) -> None:
    for each in trained:
        if each.method == method:
            each.path.rename(folder / FUSION_FILE)
        else:
            each.path.unlink()


def _golden(log: ImpressionLog, features: Sequence[FusionFeature], folder: Path) -> FusionGolden:
    """Take the first requests that it was judged on, and a row that is missing throughout."""
    some = feature_matrix(log.span(0, min(_GOLDEN_REQUESTS, log.num_requests)), features)
    rows = np.concatenate([some, np.full((1, some.shape[1]), np.nan, np.float32)])
    return FusionGolden(features=rows, scores=graph_scores(folder / FUSION_FILE, rows))


def _manifest(
    config: FitConfig,
    features: tuple[FusionFeature, ...],
    earlier: ImpressionLog,
    report: FitReport,
    files: Mapping[str, str],
) -> FusionManifest:
    made_of = provenance(
        config.model_dump(mode="json"),
        data_fingerprint=earlier.fingerprint,
        seed=config.seed,
        more_libraries=("lightgbm",),
    )
    name = f"{config.yardstick.measure}_at_{config.yardstick.k}"
    own = next(each for each in report.comparison.contenders if each.name == report.published)
    return FusionManifest(
        name=config.name,
        method=report.published,
        features=features,
        utility=config.utility,
        files=dict(files),
        provenance=made_of,
        metrics={
            name: own.value.value,
            f"{name}.difference": own.difference.value,
            f"{name}.difference_low": own.difference.low,
            f"{name}.difference_high": own.difference.high,
        },
    )
