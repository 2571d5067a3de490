"""The house's way to draw: quiet axes, few colours, which every kind of colour vision tells apart."""

from typing import Any

import matplotlib as mpl

__all__ = ["BLUE", "FAINT", "INK", "LINES", "MUTED", "STYLE", "VERMILION"]

mpl.use("Agg")

INK, MUTED, FAINT = "#22262b", "#6b7280", "#e5e7eb"
# Blue and vermilion of Okabe and Ito's palette.
BLUE, VERMILION = "#0072b2", "#d55e00"
LINES = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLE: Any = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
    "xtick.major.size": 0,
    "legend.frameon": False,
}
