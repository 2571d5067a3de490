"""Pictures of a comparison: gains, labels, gradients, gates and selected fields, one file each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from training.comparing.findings import Comparison, ContenderFindings
from training.comparing.gains import TaskGain, headlines
from training.drawing import BLUE, FAINT, INK, LINES, MUTED, STYLE, VERMILION
from training.gates import DEAD_BELOW

__all__ = ["GATES", "GRADIENTS", "LABELS", "SEESAW", "SELECTED", "draw"]

SEESAW, LABELS, GRADIENTS, GATES, SELECTED = "gains.png", "labels.png", "gradients.png", "gates.png", "selected.png"

_BLANK = "#f6f7f8"
_VERDICTS = {"gain": BLUE, "loss": VERMILION, "no difference": "#9099a3"}
_BLUES = LinearSegmentedColormap.from_list("share", ["#ffffff", BLUE])
_BOTH_WAYS = LinearSegmentedColormap.from_list("sign", [VERMILION, "#ffffff", BLUE])


def draw(comparison: Comparison, folder: Path) -> tuple[str, ...]:
    """Write every picture for which there is something to see; gives their file names."""
    makers: dict[str, Callable[[Comparison], Figure | None]] = {
        SEESAW: _seesaw,
        LABELS: _labels,
        GRADIENTS: _gradients,
        GATES: _gates,
        SELECTED: _selected,
    }
    drawn = []
    with mpl.rc_context(STYLE):
        for name, make in makers.items():
            if (figure := make(comparison)) is not None:
                figure.savefig(folder / name, dpi=150)
                drawn.append(name)
    return tuple(drawn)


def _seesaw(comparison: Comparison) -> Figure | None:
    """A panel a task, a row an architecture: mean, one standard error, and each seed as a small dot."""
    rows = [each for each in comparison.sharing if each.gains]
    if not rows:
        return None
    tasks = [task for task in comparison.kinds if any(_of(each, task) for each in rows)]
    figure = Figure(figsize=(2.0 + 3.0 * len(tasks), 1.7 + 0.5 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        _gain_panel(axes, rows, task)
    panels[0].set_yticks(range(len(rows)), [_row_name(each) for each in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    figure.suptitle(
        "Gain over single-task networks of the same size, %   (bar: one standard error; dots: seeds)",
        x=0.01, ha="left", fontsize=10, color=MUTED,
    )  # fmt: skip
    figure.legend(
        handles=[Line2D([], [], marker="o", linestyle="", color=c, label=v) for v, c in _VERDICTS.items()],
        loc="outside lower left", ncols=3, fontsize=9,
    )  # fmt: skip
    return figure


def _gain_panel(axes: Axes, rows: Sequence[ContenderFindings], task: str) -> None:
    axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
    axes.grid(axis="x", color=FAINT, linewidth=0.8, zorder=0)
    axes.spines["left"].set_visible(False)
    shown = [(y, gain) for y, each in enumerate(rows) if (gain := _of(each, task))]
    for y, gain in shown:
        colour = _VERDICTS[gain.gain.verdict]
        axes.plot(gain.seeds_percent, [y + 0.24] * len(gain.seeds_percent), "o", ms=3, color=colour, alpha=0.45)
        axes.errorbar(
            gain.gain_percent, y, xerr=gain.standard_error_percent or 0.0, fmt="o", ms=7, color=colour, linewidth=2.5
        )
        told, place = f"{gain.gain_percent:+.2f}".replace("-", "−"), (gain.gain_percent, y)
        axes.annotate(told, place, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9, color=colour)
    axes.margins(x=0.18)
    axes.set_title(f"{task}   {shown[0][1].title}", color=INK)


def _of(each: ContenderFindings, task: str) -> TaskGain | None:
    return next((gain for gain in headlines(each.gains) if gain.task == task), None)


def _row_name(each: ContenderFindings) -> str:
    return f"{each.name}\n(seesaw)" if each.is_seesaw else each.name


def _labels(comparison: Comparison) -> Figure | None:
    """Pearson below the diagonal, Spearman above it."""
    names = [label.name for label in comparison.labels]
    if len(names) < 2:
        return None
    table = np.full((len(names), len(names)), np.nan)
    for pair in comparison.relations:
        a, b = names.index(pair.first), names.index(pair.second)
        table[max(a, b), min(a, b)] = np.nan if pair.pearson is None else pair.pearson
        table[min(a, b), max(a, b)] = np.nan if pair.spearman is None else pair.spearman
    figure = Figure(figsize=(2.2 + 0.8 * len(names), 1.4 + 0.5 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor(_BLANK)
    _heatmap(axes, table, names, names, colours=_BOTH_WAYS, low=-1, high=1, blank="–")
    axes.set_title("Pearson below, Spearman above")
    return figure


def _gradients(comparison: Comparison) -> Figure | None:
    measured = [each for each in comparison.sharing if each.cosines]
    if not measured:
        return None
    figure = Figure(figsize=(1.0 + 3.4 * len(measured), 3.6), layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for axes, each in zip(panels, measured, strict=True):
        _cosine_panel(axes, each)
    panels[0].set_ylabel("cosine of gradients")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=min(4, len(names)), fontsize=9)
    return figure


def _cosine_panel(axes: Axes, each: ContenderFindings) -> None:
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    for (pair, spreads), colour in zip(each.cosines.items(), _cycle(LINES, len(each.cosines)), strict=True):
        epochs = np.arange(1, len(spreads) + 1)
        mean, std = np.array([s.mean for s in spreads]), np.array([s.std for s in spreads])
        axes.plot(epochs, mean, marker="o", ms=4, color=colour, linewidth=2, label=pair)
        axes.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(each.name)
    axes.set_xlabel("epoch")


def _gates(comparison: Comparison) -> Figure | None:
    gated = [each for each in comparison.sharing if each.gates]
    if not gated:
        return None
    widths = [max(2, len(_experts(each))) for each in gated]
    height = 2.0 + 0.5 * max(len(each.gates) for each in gated)
    figure = Figure(figsize=(1.5 * len(gated) + 0.62 * sum(widths), height), layout="constrained")
    panels = figure.subplots(1, len(gated), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    for axes, each in zip(panels, gated, strict=True):
        _gate_panel(axes, each)
    return figure


def _gate_panel(axes: Axes, each: ContenderFindings) -> None:
    experts = _experts(each)
    table = np.array([[gate.mean_weights.get(expert, np.nan) for expert in experts] for gate in each.gates])
    rows = [f"{gate.task}\nentropy {gate.entropy_share.mean:.2f}" for gate in each.gates]
    dead = np.nanmax(table, axis=0) < DEAD_BELOW
    names = [
        f"{expert.replace(':', ' ')}{'  dead' if gone else ''}" for expert, gone in zip(experts, dead, strict=True)
    ]
    _heatmap(axes, table, rows, names, colours=_BLUES, low=0, high=max(0.6, float(np.nanmax(table))))
    for tick, gone in zip(axes.get_xticklabels(), dead, strict=True):
        tick.set(rotation=40, ha="left", rotation_mode="anchor", color=_VERDICTS["loss"] if gone else INK)
    axes.set_title(f"{each.name}, seed {each.gates[0].seed}")


def _experts(each: ContenderFindings) -> tuple[str, ...]:
    """Name the experts, those for all tasks first."""
    names = dict.fromkeys(expert for gate in each.gates for expert in gate.mean_weights)
    return tuple(sorted(names, key=lambda name: ("shared", "group", "task").index(name.split(":")[0])))


def _selected(comparison: Comparison) -> Figure | None:
    selecting = [each for each in comparison.sharing if each.selected]
    if not selecting:
        return None
    height = 1.4 + 0.34 * max(len(next(iter(each.selected.values()))) for each in selecting)
    figure = Figure(figsize=(1.6 + 3.0 * len(selecting), height), layout="constrained")
    panels = figure.subplots(1, len(selecting), squeeze=False)[0]
    for axes, each in zip(panels, selecting, strict=True):
        tasks = list(each.selected)
        fields = list(each.selected[tasks[0]])
        table = np.array([[each.selected[task][field].mean for task in tasks] for field in fields])
        reach = max(0.25, float(np.abs(table - 1.0).max()))
        _heatmap(axes, table, fields, tasks, colours=_BOTH_WAYS, low=1.0 - reach, high=1.0 + reach, centre=1.0)
        axes.set_title(f"{each.name}   1 is a field as it came")
    return figure


def _heatmap(
    axes: Axes,
    table: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    colours: LinearSegmentedColormap,
    low: float,
    high: float,
    centre: float = 0.0,
    blank: str = "",
) -> None:
    """Draw cells with their numbers in them, columns named on top."""
    axes.imshow(np.ma.masked_invalid(table), cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", labelcolor=INK)
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    reach = max(high - centre, centre - low)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            ink = "white" if abs(value - centre) > 0.6 * reach else INK
            axes.text(column, row, f"{value:.2f}".replace("-", "−"), ha="center", va="center", color=ink, fontsize=9)
        elif blank and row != column:
            axes.text(column, row, blank, ha="center", va="center", color=MUTED)


def _cycle(colours: Sequence[str], count: int) -> list[str]:
    return [colours[i % len(colours)] for i in range(count)]
