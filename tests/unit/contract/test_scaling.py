"""What the network reads of a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.encoding import Encoder
from contract.features import FeatureSchema, LogStandard, Numeric, Piecewise, Quantile, Standard
from contract.scaling import as_one_number, scale, scaled_width

BINS = Piecewise(points=(0.0, 1.0, 3.0, 10.0))
finite = st.floats(-1e300, 1e300)
edges = st.lists(finite, min_size=2, max_size=12, unique=True).map(sorted).map(tuple)


def _encoder():
    length = Numeric(name="length", side="candidate", scaling=BINS, default=2.0)
    price = Numeric(name="price", side="candidate", scaling=Standard(mean=0.0, std=1.0))
    return Encoder(FeatureSchema(fields=(length, price)))


def test_a_piecewise_number_is_how_far_it_has_come_in_each_bin():
    scaled = scale(BINS, np.array([-5.0, 0.0, 0.25, 1.0, 2.0, 6.5, 10.0, 99.0]))

    assert scaled.tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [0.25, 0, 0],
        [1, 0, 0],
        [1, 0.5, 0],
        [1, 1, 0.5],
        [1, 1, 1],
        [1, 1, 1],
    ]


@given(points=edges, values=st.lists(finite, min_size=1, max_size=10))
def test_piecewise_columns_rise_with_the_number_within_0_and_1_and_are_whole_at_every_edge(points, values):
    scaling = Piecewise(points=points)
    scaled = scale(scaling, np.sort([*values, *points]))

    assert scaled.shape == (len(values) + len(points), scaled_width(scaling))
    assert (scaled >= 0).all()
    assert (scaled <= 1).all()
    assert (np.diff(scaled, axis=0) >= 0).all()
    assert (np.diff(as_one_number(scaled)) >= 0).all()
    assert scale(scaling, np.array(points)).tolist() == np.tri(len(points), len(points) - 1, -1).tolist()
    assert (((scaled > 0) & (scaled < 1)).sum(axis=1) <= 1).all()


@given(points=st.lists(st.integers(-1_000, 1_000), min_size=2, max_size=12, unique=True).map(sorted))
def test_the_sum_of_piecewise_columns_tells_every_number_between_the_outer_edges_apart(points):
    values = np.arange(points[0], points[-1] + 0.25, 0.25)

    one = as_one_number(scale(Piecewise(points=tuple(map(float, points))), values))

    assert (np.diff(one) > 0).all()
    assert (one[0], one[-1]) == (0, len(points) - 1)


@pytest.mark.parametrize(
    "scaling",
    [Standard(mean=1.0, std=2.0), LogStandard(mean=0.0, std=1.0), Quantile(points=(0.0, 1.0, 5.0))],
    ids=lambda scaling: scaling.kind,
)
def test_every_other_scaling_gives_one_column(scaling):
    scaled = scale(scaling, np.array([0.5, 3.0]))

    assert scaled.shape == (2, scaled_width(scaling)) == (2, 1)
    assert as_one_number(scaled).tolist() == scaled[:, 0].tolist()


def test_a_missing_piecewise_number_is_its_default():
    encoded = _encoder().encode("candidate", {"length": [None, 2.0]}, 2)

    assert encoded.dense.tolist() == [[1, 0.5, 0, 0], [1, 0.5, 0, 0]]


def test_an_overlay_replaces_every_column_of_a_piecewise_number_and_no_other():
    encoder = _encoder()
    base = encoder.encode("candidate", {"length": [10.0, 0.0], "price": [4.0, 5.0]}, 2)

    assert encoder.overlay(base, {"length": [0.5, 3.0]}).dense.tolist() == [[0.5, 0, 0, 4], [1, 1, 0, 5]]
    assert encoder.overlay(base, {"price": [7.0, 8.0]}).dense.tolist() == [[1, 1, 1, 7], [0, 0, 0, 8]]
