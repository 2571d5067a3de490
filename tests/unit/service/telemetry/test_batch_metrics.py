import pytest
from prometheus_client import CollectorRegistry

from service.telemetry.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics(CollectorRegistry(), version="1")


def sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_every_graph_call_says_how_large_it_was_why_it_was_released_and_what_it_took_against_what_it_should(metrics):
    facts = {"expected_s": 0.005, "took_s": 0.006, "queued_s": [0.0, 0.001, 0.02]}
    metrics.observe_batch(rows=700, requests=3, reason="full", **facts)
    metrics.observe_batch(rows=10, requests=1, reason="idle", expected_s=0.001, took_s=0.001, queued_s=[0.0])

    assert sample(metrics, "fulcrum_batch_dispatches_total", reason="full") == 1
    assert sample(metrics, "fulcrum_batch_dispatches_total", reason="idle") == 1
    assert sample(metrics, "fulcrum_batch_rows_sum") == 710
    assert sample(metrics, "fulcrum_batch_requests_sum") == 4
    assert sample(metrics, "fulcrum_batch_duration_seconds_sum") == pytest.approx(0.007)
    assert sample(metrics, "fulcrum_batch_duration_ratio_sum") == pytest.approx(2.2)
    assert sample(metrics, "fulcrum_queue_delay_seconds_count") == 4
    assert sample(metrics, "fulcrum_queue_delay_seconds_sum") == pytest.approx(0.021)


def test_a_call_that_was_expected_to_cost_nothing_has_no_ratio(metrics):
    metrics.observe_batch(rows=1, requests=1, reason="idle", expected_s=0.0, took_s=0.1, queued_s=[0.0])

    assert sample(metrics, "fulcrum_batch_duration_ratio_count") == 0


def test_refusals_are_counted_by_what_was_in_the_way(metrics):
    for reason in ("wait", "wait", "deadline", "rows"):
        metrics.observe_refusal(reason=reason)

    assert sample(metrics, "fulcrum_refusals_total", reason="wait") == 2
    assert sample(metrics, "fulcrum_refusals_total", reason="deadline") == 1
    assert sample(metrics, "fulcrum_refusals_total", reason="rows") == 1
