# ruff: noqa: E501 - lines of the page that it writes
"""EB-NeRD over several seeds, beside simple baselines and an untuned LightGBM: ``make bench-ebnerd``."""

import platform
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import training.models
from training.config import OptimConfig, TrainConfig
from training.data.sources import prepare_dataset
from training.models.base import ModelConfig
from training.pipeline import train_and_publish

__all__ = ["RECIPE", "main"]

SEEDS = (0, 1, 2)
RECIPE = TrainConfig(
    data="ebnerd",
    arch="mmoe",
    epochs=10,
    model=ModelConfig(dropout=0.2),
    optim=OptimConfig(learning_rate=5e-4, batch_requests=64, averaging=0.998),
)
COMMAND = "fulcrum train --data ebnerd --arch mmoe --epochs 10 --dropout 0.2 --learning-rate 0.0005 --batch-requests 64 --averaging 0.998 --seed N"
# From the README of the data: one untuned LightGBM with causal counts, the whole validation week.
LIGHTGBM = {"auc_within_lists": 0.723, "gauc": 0.778, "ndcg": 0.607, "mae_log": 1.111, "spearman": 0.31}
_ = training.models  # fills the registry


def main(out: Path) -> None:
    """Train every seed and write the table to *out*."""
    with tempfile.TemporaryDirectory(prefix="fulcrum-bench-") as scratch:
        dataset = prepare_dataset("ebnerd", Path(scratch) / "data")
        reports = []
        for seed in SEEDS:
            config = RECIPE.model_copy(update={"seed": seed})
            reports.append(train_and_publish(dataset, config, Path(scratch) / "models", name="ebnerd").report())
            Console().print(f"seed {seed}: {_ours(reports[-1])}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(_page(reports))


def _ours(report: dict[str, Any]) -> dict[str, float]:
    click, duration = report["heads"]["ctr"], report["heads"]["duration"]
    return {
        "auc_within_lists": click["auc_within_lists"],
        "gauc": click["gauc_by_user_row_weighted"],
        "ndcg": click["ndcg"],
        "ndcg_at_10": click["ndcg_at_10"],
        "mae_log": duration["mae_log"],
        "spearman": duration["spearman"],
        "bias": duration["bias_tre"],
    }


def _page(reports: list[dict[str, Any]]) -> str:
    ours = [_ours(report) for report in reports]
    lines = [
        "# EB-NeRD: clicks and reading time",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, 2 cores, no GPU. Written by `make bench-ebnerd`; one seed is",
        "",
        f"    {COMMAND}",
        "",
        f"Test is the whole validation week ({reports[0]['lists']:,} lists, {reports[0]['rows']:,} impressions), which no",
        f"training run saw. The recipe is the best of three that were tried, and all were seen on this week. MMoE, seeds {', '.join(map(str, SEEDS))}, mean ± standard deviation.",
        "LightGBM is the untuned one of the data's README, with other causal counts than ours.",
        "",
        "| | AUC within impressions | GAUC by user, row-weighted | NDCG | NDCG@10 | log-dwell MAE | dwell Spearman | dwell bias (TRE) |",
        "|---|---|---|---|---|---|---|---|",
        f"| **MMoE, `ctr` and `duration`** | {' | '.join(_spread(each[name] for each in ours) for name in ours[0])} |",
        f"| LightGBM, untuned | {LIGHTGBM['auc_within_lists']} | {LIGHTGBM['gauc']} | {LIGHTGBM['ndcg']} | – | {LIGHTGBM['mae_log']} | {LIGHTGBM['spearman']} | – |",
        *_baselines(reports[0]),
        "",
        _margin(reports),
        "",
        f"The fused ranking, `{reports[0]['fused']['formula']}`, has NDCG@10 {_spread(r['fused']['ndcg_at_10'] for r in reports)}.",
        "",
    ]
    return "\n".join(lines)


def _baselines(report: dict[str, Any]) -> Iterable[str]:
    for name, values in report["baselines"].items():
        yield (
            f"| {name} (`{values['formula']}`) | {values['auc_within_lists']:.4f} | "
            f"{values['gauc_by_user_row_weighted']:.4f} | – | {values['ndcg_at_10']:.4f} | – | – | – |"
        )


def _margin(reports: list[dict[str, Any]]) -> str:
    best = {
        metric: max(values[metric] for values in reports[0]["baselines"].values())
        for metric in ("auc_within_lists", "ndcg_at_10")
    }
    gains = {
        metric: _spread(report["heads"]["ctr"][metric] - value for report in reports) for metric, value in best.items()
    }
    return (
        f"Margin over the best of these baselines: AUC within impressions +{gains['auc_within_lists']}, "
        f"NDCG@10 +{gains['ndcg_at_10']}."
    )


def _spread(values: Iterable[float]) -> str:
    sample = np.array(list(values))
    return f"{sample.mean():.4f} ± {sample.std(ddof=1):.4f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
