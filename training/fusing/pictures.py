"""Pictures of a search: the front between two utilities, or how one rose, with the current profile marked."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.drawing import BLUE, FAINT, MUTED, STYLE, VERMILION
from training.fusing.search import SearchDocument

__all__ = ["draw_search"]


def draw_search(document: SearchDocument, path: Path) -> None:
    """Draw the searched requests beside the later ones."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        searched, later = figure.subplots(1, 2)
        if len(document.config.utilities) == 1:
            _rise(searched, document)
            _change(later, document)
        else:
            _front(searched, document)
            _later_front(later, document)
        figure.suptitle(document.current.profile.formula, x=0.01, ha="left", fontsize=10, color=MUTED)
        figure.savefig(path, dpi=130)


def _named(document: SearchDocument, utility: int) -> str:
    config = document.config
    return config.yardstick.told(config.utilities[utility].formula)


def _front(axes: Axes, document: SearchDocument) -> None:
    tried = np.array([trial.objectives for trial in document.trials])
    front = np.array([point.objectives for point in document.points])
    axes.plot(*tried.T, "o", ms=3, color=MUTED, alpha=0.35, label="tried")
    axes.plot(*front.T, "o-", ms=5, lw=1.5, color=BLUE, label="not beaten in both")
    axes.plot(*document.now.objectives, "D", ms=8, color=VERMILION, label="current profile")
    _numbers(axes, front)
    _dress(axes, f"searched: {document.searched_requests:,} requests", _named(document, 0), _named(document, 1))


def _later_front(axes: Axes, document: SearchDocument) -> None:
    """Draw how each point differs from the current profile, which is the origin."""
    x, y = (np.array([[p.change[u].value, p.change[u].low, p.change[u].high] for p in document.points]) for u in (0, 1))
    gaps = [np.abs(side[:, 1:] - side[:, :1]).T for side in (x, y)]
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.errorbar(x[:, 0], y[:, 0], xerr=gaps[0], yerr=gaps[1], fmt="o", ms=5, lw=0.7, color=BLUE, label="points")
    axes.plot(0, 0, "D", ms=8, color=VERMILION, label="current profile")
    _numbers(axes, np.stack([x[:, 0], y[:, 0]], axis=1))
    titles = [f"change of {_named(document, utility)}" for utility in (0, 1)]
    _dress(axes, f"later: {document.later_requests:,} requests, change with 95 % intervals", *titles)


def _numbers(axes: Axes, places: np.ndarray) -> None:
    """Number the points as ``fulcrum fuse apply --point`` does."""
    for number, place in enumerate(places.tolist()):
        if number in {0, len(places) - 1} or number % 5 == 0:
            axes.annotate(str(number), place, xytext=(5, 5), textcoords="offset points", fontsize=8, color=BLUE)


def _rise(axes: Axes, document: SearchDocument) -> None:
    values = np.array([trial.objectives[0] for trial in document.trials])
    axes.plot(values, "o", ms=3, color=MUTED, alpha=0.35, label="tried")
    axes.plot(np.maximum.accumulate(values), lw=1.8, color=BLUE, label="best so far")
    axes.axhline(values[0], color=VERMILION, lw=1.2, label="current profile")
    _dress(axes, f"searched: {document.searched_requests:,} requests", "trial", _named(document, 0))


def _change(axes: Axes, document: SearchDocument) -> None:
    change = document.points[0].change[0]
    gaps = [[change.value - change.low], [change.high - change.value]]
    axes.errorbar(change.value, 0, xerr=gaps, fmt="o", ms=8, lw=2, color=BLUE, label="found")
    axes.plot(0, 0, "D", ms=8, color=VERMILION, label="current profile")
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.set(yticks=[], ylim=(-1, 1))
    axes.margins(x=0.2)
    told = f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})".replace("-", "−")
    _dress(axes, f"later: {document.later_requests:,} requests, {told}", f"change of {_named(document, 0)}", "")


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.legend(fontsize=9)
