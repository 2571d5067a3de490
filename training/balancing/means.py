"""Means of named numbers over the batches of an epoch."""

from collections.abc import Mapping

__all__ = ["Means"]


class Means:
    """Adds numbers up by name and gives their means; a name counts only the times that it was given."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Take one number of each name."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Give the means, sorted by name, and begin again."""
        means = {name: total / self._counts[name] for name, total in sorted(self._sums.items())}
        self._sums, self._counts = {}, {}
        return means
