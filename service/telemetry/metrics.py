"""Every metric of the service: names, labels and buckets in one place. Base units, prefix ``fulcrum_``.

No label takes a value that a client can invent: names of models and profiles come from what is served.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contract.arrays import FloatArray, Predictions
from service.ports import Exposure, ModelCatalog
from service.telemetry.histogram import ArrayHistogram

__all__ = ["ExperimentMetrics", "Metrics"]

_SECONDS = tuple(0.0001 * 2**power for power in range(16))
_ROWS = tuple(2.0**power for power in range(14))
_RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
_HEAD_VALUES = (
    0.001,
    0.003,
    0.01,
    0.03,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    0.9,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1000.0,
)
_SCORES = (-10.0, -1.0, -0.1, 0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One set of metrics for one app.

    Args:
        registry: Where they are registered; one an app, never the global one.
        version: Of the package.
    """

    def __init__(self, registry: CollectorRegistry, *, version: str) -> None:
        self.registry = registry
        self.add_info("fulcrum_build_info", "What is running.", ["version"], lambda: [(version,)])
        self._requests = Counter("fulcrum_requests", "Answered requests.", ["route", "status"], registry=registry)
        self._request_seconds = Histogram(
            "fulcrum_request_duration_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "fulcrum_stage_duration_seconds",
            "Time of a stage of a rank request.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._candidates = Histogram(
            "fulcrum_candidates", "Candidates of a rank request.", buckets=_ROWS, registry=registry
        )
        self._batch_rows = Histogram(
            "fulcrum_batch_rows", "Candidates of a graph call.", buckets=_ROWS, registry=registry
        )
        self._batch_requests = Histogram(
            "fulcrum_batch_requests", "Requests of a graph call.", buckets=_ROWS[:8], registry=registry
        )
        self._batch_dispatches = Counter(
            "fulcrum_batch_dispatches", "Graph calls, by why no more was joined.", ["reason"], registry=registry
        )
        self._batch_seconds = Histogram(
            "fulcrum_batch_duration_seconds", "Time of a graph call.", buckets=_SECONDS, registry=registry
        )
        self._batch_ratio = Histogram(
            "fulcrum_batch_duration_ratio",
            "Time of a graph call over the time that was predicted for it.",
            buckets=_RATIOS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "fulcrum_queue_delay_seconds",
            "Time that a request waited for its graph call.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            "fulcrum_refusals",
            "Requests that were refused at once, by what was in the way.",
            ["reason"],
            registry=registry,
        )
        self._head_values = ArrayHistogram(
            "fulcrum_head_value", "Values of a head, in its own unit.", ["model", "head"], _HEAD_VALUES
        )
        self._scores = ArrayHistogram("fulcrum_score", "Scores after fusion.", ["profile"], _SCORES)
        self._non_finite = Counter(
            "fulcrum_scores_not_finite", "Scores that were not finite.", ["profile"], registry=registry
        )
        self._unknown_items = Counter(
            "fulcrum_unknown_items",
            "Candidates that the item table does not know.",
            ["model"],
            registry=registry,
        )
        self._swaps = Counter(
            "fulcrum_model_swaps",
            "New model versions, by what became of them.",
            ["result"],
            registry=registry,
        )
        self._fusion_writes = Counter(
            "fulcrum_fusion_writes", "Fusion changes, by what became of them.", ["result"], registry=registry
        )
        self._preview_seconds = Histogram(
            "fulcrum_preview_seconds", "Time of a preview of a fusion.", buckets=_SECONDS, registry=registry
        )
        registry.register(self._head_values)
        registry.register(self._scores)
        self.experiments = ExperimentMetrics(registry)

    def observe_rank(
        self,
        *,
        model: str,
        profile: str,
        stages: Mapping[str, float],
        heads: Predictions,
        scores: FloatArray,
        non_finite: int,
        unknown_items: int,
    ) -> None:
        """Record one ranked request; see :class:`service.ports.StageObserver`."""
        for stage, seconds in stages.items():
            self.observe_stage(stage, seconds)
        self._candidates.observe(len(scores))
        for head, values in heads.items():
            self._head_values.observe((model, head), values)
        self._scores.observe((profile,), scores)
        self._non_finite.labels(profile).inc(non_finite)
        self._unknown_items.labels(model).inc(unknown_items)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Record one stage."""
        self._stage_seconds.labels(stage).observe(seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record how long the block takes as a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.observe_stage(name, time.perf_counter() - begin)

    def observe_batch(
        self, *, rows: int, requests: int, reason: str, queued_s: Sequence[float], expected_s: float, took_s: float
    ) -> None:
        """Record one graph call; see :class:`service.runtime.batcher.BatchObserver`."""
        self._batch_rows.observe(rows)
        self._batch_requests.observe(requests)
        self._batch_dispatches.labels(reason).inc()
        self._batch_seconds.observe(took_s)
        if expected_s > 0:
            self._batch_ratio.observe(took_s / expected_s)
        for seconds in queued_s:
            self._queue_seconds.observe(seconds)

    def observe_refusal(self, *, reason: str) -> None:
        """Record a refusal at the door: ``rows``, ``wait`` or ``deadline``."""
        self._refusals.labels(reason).inc()

    def observe_request(self, *, route: str, status: int, seconds: float) -> None:
        """Record one answer; *route* is the route's pattern, never the path that the client sent."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def observe_swap(self, *, result: str) -> None:
        """Record what became of a new version: ``loaded`` or ``rejected``."""
        self._swaps.labels(result).inc()

    def observe_fusion_write(self, *, result: str) -> None:
        """Record what became of a fusion change: ``accepted`` or ``refused``."""
        self._fusion_writes.labels(result).inc()

    def observe_preview(self, *, seconds: float) -> None:
        """Record one preview of a fusion."""
        self._preview_seconds.observe(seconds)

    def watch_preview(self, num_requests: Callable[[], int]) -> None:
        """Publish how many requests are kept for previews, read anew at every scrape."""
        gauge = Gauge("fulcrum_preview_requests", "Requests that are kept for previews.", registry=self.registry)
        gauge.set_function(num_requests)

    def add_info(
        self, name: str, help_text: str, labels: Iterable[str], read: Callable[[], Iterable[tuple[str, ...]]]
    ) -> None:
        """Publish facts as labels of a gauge that is 1, read anew at every scrape."""
        self.registry.register(_Info(name, help_text, tuple(labels), read))

    def watch_store(self, read: Callable[[], tuple[bool, int, int]]) -> None:
        """Publish how the store of revisions is, read anew at every scrape: up, applied sequence, unreadable ones."""
        for name, text, part in (
            ("fulcrum_store_up", "1 while the store of revisions answers.", 0),
            ("fulcrum_store_applied_sequence", "Sequence up to which every change is in force here.", 1),
            ("fulcrum_store_unreadable", "Documents whose newest revision cannot be read.", 2),
        ):
            gauge = Gauge(name, text, registry=self.registry)
            gauge.set_function(lambda part=part: float(read()[part]))  # type: ignore[misc]

    def watch(self, catalog: ModelCatalog, revisions: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Publish which model versions and fusion revisions are in force, read anew at every scrape."""
        self.add_info(
            "fulcrum_model_info",
            "Model versions that serve.",
            ["model", "version", "architecture"],
            lambda: [(m.manifest.name, str(m.version), m.manifest.architecture) for m in catalog.all()],
        )
        self.add_info(
            "fulcrum_fusion_info",
            "Fusion revisions in force.",
            ["profile", "revision"],
            lambda: [(profile, str(revision)) for profile, revision in revisions()],
        )

    def render(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self.registry)


class ExperimentMetrics:
    """Who is in which arm, and what shadows would change.

    Labels come from the documents of layers, never from a request.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        arm = ["layer", "experiment", "arm"]
        self._requests = Counter("fulcrum_experiment_requests", "Ranked requests of an arm.", arm, registry=registry)
        self._seconds = Histogram(
            "fulcrum_experiment_rank_seconds",
            "Time of ranking a request of an arm.",
            arm,
            buckets=_SECONDS,
            registry=registry,
        )
        self._fallbacks = Counter(
            "fulcrum_experiment_fallbacks",
            "Requests of an arm that were ranked without it.",
            [*arm, "reason"],
            registry=registry,
        )
        self._missing = Counter(
            "fulcrum_experiment_units_missing",
            "Requests that name no unit for a layer.",
            ["layer"],
            registry=registry,
        )
        self._shadows = Counter(
            "fulcrum_shadow_requests", "Shadows, by what became of them.", [*arm, "result"], registry=registry
        )
        self._first_changed = Counter(
            "fulcrum_shadow_first_changed", "Shadows that put another candidate first.", arm, registry=registry
        )
        self._top_overlap = Histogram(
            "fulcrum_shadow_top10_overlap",
            "Share of the ten best that the shadow has too.",
            arm,
            buckets=[tenth / 10 for tenth in range(11)],
            registry=registry,
        )
        self._kendall_tau = Histogram(
            "fulcrum_shadow_kendall_tau",
            "Kendall's tau-b between answer and shadow.",
            arm,
            buckets=[-0.5, 0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.0],
            registry=registry,
        )

    def observe_exposure(self, exposure: Exposure, seconds: float) -> None:
        """Record one ranked request of an arm."""
        arm = _arm(exposure)
        self._requests.labels(*arm).inc()
        self._seconds.labels(*arm).observe(seconds)
        if exposure.fallback:
            self._fallbacks.labels(*arm, exposure.fallback).inc()

    def observe_missing_unit(self, layer: str) -> None:
        """Record a request that names no unit for a layer."""
        self._missing.labels(layer).inc()

    def observe_shadow(
        self, exposure: Exposure, *, top_overlap: float, kendall_tau: float, first_changed: bool
    ) -> None:
        """Record one request that was ranked twice."""
        arm = _arm(exposure)
        self._shadows.labels(*arm, "scored").inc()
        self._first_changed.labels(*arm).inc(first_changed)
        self._top_overlap.labels(*arm).observe(top_overlap)
        if math.isfinite(kendall_tau):
            self._kendall_tau.labels(*arm).observe(kendall_tau)

    def observe_lost_shadow(self, exposure: Exposure, *, reason: str) -> None:
        """Record a shadow that was not scored: ``busy`` where the line was full, or ``failed``."""
        self._shadows.labels(*_arm(exposure), reason).inc()


def _arm(exposure: Exposure) -> tuple[str, str, str]:
    return exposure.layer, exposure.experiment, exposure.arm


class _Info(Collector):
    """Facts that change, without leaving old ones behind."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: tuple[str, ...],
        read: Callable[[], Iterable[tuple[str, ...]]],
    ) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give one sample a fact."""
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for values in self._read():
            family.add_metric(values, 1)
        yield family
