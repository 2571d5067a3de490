"""Pictures of a report: calibration of the heads, and how training went."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["draw_report"]

mpl.use("Agg")


def draw_report(report: dict[str, Any], folder: Path) -> None:
    """Write ``calibration.png``, ``training.png`` and, from balanced or probed runs, ``balance.png`` into *folder*."""
    _calibration(report).savefig(folder / "calibration.png", dpi=90)
    _training(report).savefig(folder / "training.png", dpi=90)
    measured = sorted({name for epoch in report["training"] for name in epoch.get("balance", {})})
    if any(name.startswith("cosine/") for name in measured) or _move(report, measured):
        _balance(report, measured).savefig(folder / "balance.png", dpi=90)


def _calibration(report: dict[str, Any]) -> Figure:
    heads = {name: head for name, head in report["heads"].items() if head["kind"] == "binary"}
    figure = Figure(figsize=(4 * max(1, len(heads)), 4), layout="constrained")
    for position, (name, head) in enumerate(heads.items(), start=1):
        axes = figure.add_subplot(1, len(heads), position)
        predicted = [point["predicted"] for point in head["calibration_curve"]]
        observed = [point["observed"] for point in head["calibration_curve"]]
        edge = max([*predicted, *observed])
        axes.plot([0, edge], [0, edge], color="0.7", linewidth=1)
        axes.plot(predicted, observed, marker="o")
        axes.set(title=f"{name}, AUC {head['auc']:.4f}", xlabel="predicted", ylabel="observed")
    return figure


def _training(report: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(1, 1, 1)
    epochs = [epoch["epoch"] for epoch in report["training"]]
    for task in report["training"][0]["train"]:
        for split, style in (("train", "--"), ("validation", "-")):
            losses = [epoch[split][task] for epoch in report["training"]]
            axes.plot(epochs, losses, style, label=f"{task}, {split}")
    axes.set(title="Loss by epoch", xlabel="epoch", ylabel="loss")
    axes.legend()
    return figure


def _move(report: dict[str, Any], measured: list[str]) -> bool:
    """Tell whether any weight was other than in the first epoch."""
    epochs = [epoch.get("balance", {}) for epoch in report["training"]]
    return any(len({epoch[name] for epoch in epochs if name in epoch}) > 1 for name in measured)


def _balance(report: dict[str, Any], measured: list[str]) -> Figure:
    """Draw effective weights, and cosines of the tasks' gradients, by epoch."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for position, (kind, title) in enumerate((("weight", "Effective weight"), ("cosine", "Gradient cosine")), start=1):
        axes = figure.add_subplot(1, 2, position)
        for name in (name for name in measured if name.startswith(f"{kind}/")):
            points = [(epoch["epoch"], epoch["balance"].get(name)) for epoch in report["training"]]
            drawn = [point for point in points if point[1] is not None]
            axes.plot(*zip(*drawn, strict=True), marker="o", label=name.removeprefix(f"{kind}/").replace("/", " · "))
        axes.set(title=f"{title} by epoch", xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if kind == "cosine":
            axes.set_ylim(-1.05, 1.05)
            axes.axhline(0, color="0.7", linewidth=1)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return figure
