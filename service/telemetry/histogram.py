"""A histogram that takes whole arrays: one request brings hundreds of values a head."""

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["ArrayHistogram"]


class ArrayHistogram(Collector):
    """Counts arrays into buckets with one search and one bincount.

    Args:
        name: Metric name, without ``_bucket``.
        help_text: One sentence.
        labels: Label names.
        buckets: Upper edges, rising, without +Inf.
    """

    def __init__(self, name: str, help_text: str, labels: Sequence[str], buckets: Sequence[float]) -> None:
        self._name = name
        self._help = help_text
        self._labels = tuple(labels)
        self._edges = np.asarray(buckets, dtype=np.float64)
        self._lock = Lock()
        self._counts: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, labels: tuple[str, ...], values: NDArray[Any]) -> None:
        """Count every finite value."""
        finite = values[np.isfinite(values)]
        counted = np.bincount(np.searchsorted(self._edges, finite, side="left"), minlength=len(self._edges) + 1)
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + counted
            self._sums[labels] = self._sums.get(labels, 0.0) + float(finite.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give the family in Prometheus' form."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        names = [*(str(edge) for edge in self._edges.tolist()), "+Inf"]
        with self._lock:
            for labels, counts in self._counts.items():
                running = np.cumsum(counts).astype(float)
                family.add_metric(labels, list(zip(names, running.tolist(), strict=True)), sum_value=self._sums[labels])
        yield family
