import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from service.telemetry.histogram import ArrayHistogram

EDGES = (0.0, 0.001, 0.5, 1.0, 10.0)
VALUES = st.sampled_from(EDGES) | st.floats(-20, 20, allow_subnormal=False)
OBSERVED = st.lists(st.tuples(st.sampled_from(["ctr", "like"]), st.lists(VALUES, max_size=20)), max_size=6)


def samples(collector):
    """Give each sample's value by name and labels, edges as numbers; creation times left out."""
    found = {}
    for family in collector.collect():
        for sample in family.samples:
            labels = {**sample.labels, "le": float(sample.labels.get("le", "nan"))}
            if not sample.name.endswith("_created"):
                found[sample.name, labels["head"], str(labels["le"])] = sample.value
    return found


@given(observed=OBSERVED)
def test_arrays_count_as_if_each_value_had_been_observed_alone(observed):
    fast = ArrayHistogram("head_value", "Values.", ["head"], EDGES)
    slow = Histogram("head_value", "Values.", ["head"], buckets=EDGES, registry=CollectorRegistry())

    for head, values in observed:
        fast.observe((head,), np.array(values, dtype=np.float64))
        child = slow.labels(head)
        for value in values:
            child.observe(value)

    assert samples(fast) == pytest.approx(samples(slow), rel=1e-9, abs=1e-9)


@given(values=st.lists(VALUES, max_size=20), bad=st.lists(st.sampled_from([np.nan, np.inf, -np.inf]), max_size=5))
def test_values_that_are_not_finite_are_left_out(values, bad):
    with_bad = ArrayHistogram("head_value", "Values.", ["head"], EDGES)
    without = ArrayHistogram("head_value", "Values.", ["head"], EDGES)

    with_bad.observe(("ctr",), np.array(bad + values, dtype=np.float64))
    without.observe(("ctr",), np.array(values, dtype=np.float64))

    assert samples(with_bad) == pytest.approx(samples(without), rel=1e-9, abs=1e-9)
