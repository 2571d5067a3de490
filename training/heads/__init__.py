"""Heads: how each kind of task reads a tower's output, is trained on it, and brings it to its unit."""

from training.heads import binary, duration

__all__ = ["binary", "duration"]
