"""Pictures of a report: calibration of the heads, and how training went."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["draw_report"]

mpl.use("Agg")


def draw_report(report: dict[str, Any], folder: Path) -> None:
    """Write ``calibration.png`` and ``training.png`` into *folder*."""
    _calibration(report).savefig(folder / "calibration.png", dpi=90)
    _training(report).savefig(folder / "training.png", dpi=90)


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
