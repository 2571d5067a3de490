"""Heads: how each kind of task reads a tower's output, is trained on it, and brings it to its unit."""

from training.heads import binary, count, cread, d2q, duration, regression, transun, wlr, ziln

__all__ = ["binary", "count", "cread", "d2q", "duration", "regression", "transun", "wlr", "ziln"]
