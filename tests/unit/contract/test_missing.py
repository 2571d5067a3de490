"""A value that is not there means the same in a data set and in a request, whatever it is that is not there."""

import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.encoding import Encoder
from contract.features import (
    SIDES,
    Categorical,
    FeatureSchema,
    Hashed,
    LogStandard,
    Numeric,
    Piecewise,
    Quantile,
    Sequence,
    Standard,
    Vector,
)
from training.data.columns import raw_column
from training.data.declarations import FieldDeclaration

WORDS = ("a", "b", "c")
NUMBERS = (1, 2, 3)
strings, integers = st.sampled_from([*WORDS, "new"]), st.integers(-3, 5) | st.integers(-(2**62), 2**62)
floats = st.floats(-1e12, 1e12)
singles = st.floats(-1e6, 1e6, width=32)
SCALINGS = {
    "standard": Standard(mean=1.0, std=3.0),
    "log": LogStandard(mean=1.0, std=3.0),
    "quantile": Quantile(points=(0.0, 1.0, 10.0)),
    "piecewise": Piecewise(points=(0.0, 1.0, 10.0)),
}

CASES = {
    "categorical string": ({"kind": "categorical", "dtype": "string"}, strings),
    "categorical int": ({"kind": "categorical", "dtype": "int"}, integers),
    "hashed string": ({"kind": "hashed", "dtype": "string", "buckets": 50}, strings),
    "hashed int": ({"kind": "hashed", "dtype": "int", "buckets": 50}, integers),
    "sequence string": (
        {"kind": "sequence", "dtype": "string", "max_length": 3},
        st.lists(st.none() | strings, max_size=5),
    ),
    "sequence int": (
        {"kind": "sequence", "dtype": "int", "max_length": 3},
        st.lists(st.none() | integers, max_size=5),
    ),
    "numeric standard": ({"kind": "numeric", "dtype": "float", "scaling": "standard"}, floats),
    "numeric log": ({"kind": "numeric", "dtype": "float", "scaling": "log"}, floats),
    "numeric quantile": ({"kind": "numeric", "dtype": "float", "scaling": "quantile"}, floats),
    "numeric piecewise": ({"kind": "numeric", "dtype": "float", "scaling": "piecewise"}, floats),
    "numeric int": ({"kind": "numeric", "dtype": "int", "scaling": "log"}, integers),
    "vector": ({"kind": "vector", "dtype": "float", "dim": 3}, st.lists(singles, min_size=3, max_size=3)),
}


def _fitted(facts, side):
    """Give an encoder of one field, as `fit_schema` would make it."""
    kind, dtype, place = facts["kind"], facts["dtype"], {"name": "x", "side": side}
    field = {
        "categorical": lambda: Categorical(**place, dtype=dtype, table="x"),
        "hashed": lambda: Hashed(**place, dtype=dtype, table="x", buckets=50),
        "sequence": lambda: Sequence(**place, dtype=dtype, table="x", max_length=3),
        "numeric": lambda: Numeric(**place, scaling=SCALINGS[facts["scaling"]], default=2.5),
        "vector": lambda: Vector(**place, dim=3, scale=1.7),
    }[kind]()
    words = {"x": WORDS if dtype == "string" else NUMBERS} if kind in ("categorical", "sequence") else {}
    return Encoder(FeatureSchema(fields=(field,), vocabularies=words))


def _as_dataset(facts, side, values):
    """Give the raw column of a prepared dataset: written to Parquet, read back, as `encode_split` takes it."""
    declared = FieldDeclaration(name="x", side=side, **facts)
    table = pa.table({"x": pa.array([values] if side == "candidate" else values, declared.column_type)})
    stored = io.BytesIO()
    pq.write_table(table, stored)
    return raw_column(pq.read_table(stored), declared)


def _as_array(facts, values):
    """Give the column as NumPy holds it, NaN for what is missing where the array is of numbers."""
    if facts["kind"] == "numeric":
        return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _bits(side_arrays):
    return side_arrays.ids.tobytes(), side_arrays.dense.tobytes()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_missing_values_encode_bit_for_bit_alike_offline_and_online(case, side, data):
    facts, strategy = CASES[case]
    values = data.draw(st.lists(st.none() | strategy, min_size=1, max_size=6))
    encoder = _fitted(facts, side)
    sent = json.loads(json.dumps(values))

    arrays = encoder.encode(side, {"x": sent}, len(values))
    online = _bits(arrays)

    assert online == _bits(encoder.encode(side, {"x": _as_dataset(facts, side, values)}, len(values)))
    assert online == _bits(encoder.encode(side, {"x": _as_array(facts, values)}, len(values)))
    if side == "request":
        for row, value in enumerate(sent):
            assert _bits(encoder.encode_request({"x": value})) == _bits(arrays.take(slice(row, row + 1)))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", CASES)
def test_an_absent_column_a_null_and_nan_are_one_and_the_same(case, side):
    facts, _ = CASES[case]
    encoder, rows = _fitted(facts, side), 3
    absent = _bits(encoder.encode(side, {}, rows))

    columns = [[None] * rows, _as_dataset(facts, side, [None] * rows), _as_array(facts, [None] * rows)]
    if facts["kind"] == "sequence":
        columns += [[[], [None], [None] * 9], _as_dataset(facts, side, [[], [None], None])]
    if facts["kind"] == "numeric" or (facts["kind"] in ("categorical", "hashed") and facts["dtype"] == "int"):
        columns.append(np.full(rows, math.nan))
    if facts["kind"] == "numeric":
        columns.append([math.nan] * rows)

    for column in columns:
        assert _bits(encoder.encode(side, {"x": column}, rows)) == absent
        assert _bits(encoder.overlay(encoder.encode(side, {}, rows), {"x": column}, side=side)) == absent


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_never_encodes_as_what_is_there(case):
    facts, _ = CASES[case]
    there = {
        "categorical": WORDS[0] if facts["dtype"] == "string" else NUMBERS[0],
        "hashed": "a" if facts["dtype"] == "string" else 1,
        "sequence": [WORDS[0] if facts["dtype"] == "string" else NUMBERS[0]],
        "numeric": 7,
        "vector": [0.5, 0.0, -0.5],
    }[facts["kind"]]
    encoder = _fitted(facts, "candidate")

    assert _bits(encoder.encode("candidate", {"x": [there]}, 1)) != _bits(encoder.encode("candidate", {}, 1))
