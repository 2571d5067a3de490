"""Histograms fed with whole arrays: one call a request instead of one a candidate."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from contract.arrays import FloatArray

__all__ = ["ArrayHistogram"]


class ArrayHistogram(Collector):
    """A Prometheus histogram whose observations are arrays; each label set may have its own buckets.

    Args:
        name: Metric name.
        documentation: Its help line.
        labels: Label names.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._series: dict[tuple[str, ...], _Series] = {}
        self._lock = threading.Lock()

    def observe(self, labels: tuple[str, ...], values: FloatArray, edges: Sequence[float]) -> None:
        """Count *values* ``[N]``; those that are not finite are left out.

        Args:
            labels: Label values, in the order of the label names.
            values: What was observed.
            edges: Upper bounds of the buckets, rising; only the first call of a label set decides.
        """
        with self._lock:
            series = self._series.get(labels)
            if series is None:
                series = self._series[labels] = _Series(edges)
            series.add(values)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Give the series as they are now."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        with self._lock:
            for labels, series in sorted(self._series.items()):
                family.add_metric(labels, buckets=series.buckets(), sum_value=series.total)
        return [family]


class _Series:
    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = np.asarray(edges, dtype=np.float64)
        self._counts = np.zeros(len(edges) + 1, dtype=np.int64)
        self.total = 0.0

    def add(self, values: FloatArray) -> None:
        finite = values[np.isfinite(values)]
        # "left" puts a value that equals an edge below it, as `le` demands.
        slots = np.searchsorted(self._edges, finite, side="left")
        self._counts += np.bincount(slots, minlength=len(self._counts))
        self.total += float(np.sum(finite, dtype=np.float64))

    def buckets(self) -> list[tuple[str, Any]]:
        names = [*(f"{edge:g}" for edge in self._edges), "+Inf"]
        return list(zip(names, np.cumsum(self._counts).tolist(), strict=True))
