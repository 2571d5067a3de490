"""Encoding: one code for data sets and requests."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.encoding import Encoder, hash_bucket, numeric_column
from contract.errors import EncodingError
from contract.features import Categorical, FeatureSchema, Hashed, LogStandard, Numeric, Sequence, Standard, Vector

PRICE = Numeric(name="price", side="candidate", scaling=Standard(mean=1.0, std=2.0), default=4.0)
SCHEMA = FeatureSchema(
    fields=(
        Hashed(name="user", side="request", dtype="string", table="user", buckets=1000),
        Categorical(name="item", side="candidate", dtype="int", table="item"),
        Hashed(name="shop", side="candidate", dtype="string", table="shop", buckets=50),
        Sequence(name="seen", side="candidate", dtype="int", table="item", max_length=2),
        Vector(name="picture", side="candidate", dim=3, scale=2.0),
        PRICE,
        Numeric(name="length", side="candidate", scaling=LogStandard(mean=0.0, std=1.0)),
    ),
    vocabularies={"item": (10, 20, 30)},
)
ENCODER = Encoder(SCHEMA)
# Frozen: another value would read another row of every trained table.
GOLDEN_STRINGS = [2, 49, 148, 923, 0]
GOLDEN_NUMBERS = [2, 791, 732, 69, 52, 0]


def encode(**columns):
    return ENCODER.encode("candidate", columns, len(next(iter(columns.values()))))


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 40), st.text(max_size=5), st.floats(-1e300, 1e300), st.integers(-(2**62), 2**62)),
        min_size=1,
        max_size=8,
    )
)
def test_a_list_and_a_numpy_column_encode_to_the_same_bits(rows):
    item, shop, price, length = (list(column) for column in zip(*rows, strict=True))

    listed = encode(item=item, shop=shop, price=price, length=length)
    arrays = encode(
        item=np.array(item), shop=np.array(shop, dtype=object), price=np.array(price), length=np.array(length)
    )

    assert listed.ids.tobytes() == arrays.ids.tobytes()
    assert listed.dense.tobytes() == arrays.dense.tobytes()


def test_hash_buckets_are_the_same_in_every_release():
    strings = hash_bucket(["", "a", "user-1", "Ünïcode", None], 1000)
    numbers = hash_bucket([0, 1, 2, -1, 2**63, None], 1000)

    assert strings.tolist() == GOLDEN_STRINGS
    assert numbers.tolist() == GOLDEN_NUMBERS


def test_a_lone_surrogate_is_hashed_like_any_other_text():
    (first, second) = hash_bucket(["\ud800", "\udfff"], 2**31)

    assert first != second
    assert min(first, second) >= 2


@pytest.mark.parametrize("huge", [10**400, -(10**400)])
def test_a_number_beyond_a_float_is_refused_with_its_place(huge):
    with pytest.raises(EncodingError) as refused:
        encode(price=[1, huge])

    assert refused.value.path == "/price/1"


@pytest.mark.parametrize(
    "values",
    [["1"], [True], [{}], [[1.0]]],
)
def test_what_is_not_a_number_is_refused_in_a_list_and_in_an_array_alike(values):
    for column in (values, np.array(values), np.array(values, dtype=object)):
        with pytest.raises(EncodingError) as refused:
            numeric_column(PRICE, column, 1, path="/price")
        assert refused.value.path == "/price/0"


def test_dates_are_not_numbers():
    with pytest.raises(EncodingError):
        numeric_column(PRICE, np.array(["2024-01-01"], dtype="datetime64[ns]"), 1)


def test_an_array_without_rows_is_refused():
    with pytest.raises(EncodingError):
        numeric_column(PRICE, np.array(3.0), 1)


def test_an_object_array_of_numbers_and_nulls_is_read_as_the_list_is():
    values = [1, None, 2.5, 10]

    assert numeric_column(PRICE, np.array(values, dtype=object), 4).tolist() == [1, 4, 2.5, 10]
    assert numeric_column(PRICE, values, 4).tolist() == [1, 4, 2.5, 10]


@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
def test_an_infinite_number_is_refused(infinite):
    for column in ([1.0, infinite], np.array([1.0, infinite])):
        with pytest.raises(EncodingError, match="infinite"):
            encode(price=column)


def test_nan_in_a_float_array_of_ids_is_a_missing_id():
    assert encode(item=np.array([math.nan, math.nan])).ids[:, 0].tolist() == [0, 0]


def test_a_fraction_is_not_an_id_nor_is_nan_in_a_list():
    for column in (np.array([math.nan, 10.0]), [math.nan], np.array([math.nan], dtype=object)):
        with pytest.raises(EncodingError, match="whole number"):
            encode(item=column)


def test_missing_unknown_and_known_values_have_their_own_rows():
    sides = encode(item=[None, 99, 10, 30], seen=[[10, 20, 30], [], None, [99]])

    assert sides.ids[:, 0].tolist() == [0, 1, 2, 4]
    assert sides.ids[:, 2:].tolist() == [[2, 3], [0, 0], [0, 0], [1, 0]]


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(EncodingError) as refused:
        encode(colour=["red"])

    assert (refused.value.code, refused.value.path) == ("invalid_feature", "/colour")


def test_a_request_error_points_at_the_value_that_was_sent():
    with pytest.raises(EncodingError) as refused:
        ENCODER.encode_request({"user": 3})

    assert refused.value.path == "/request/user"


def test_an_overlay_changes_the_given_fields_alone():
    base = encode(item=[10, 20], shop=["x", "y"], price=[1.0, 3.0])

    changed = ENCODER.overlay(base, {"price": [5.0, 7.0]})

    assert changed.ids.tolist() == base.ids.tolist()
    assert changed.dense[:, 0].tolist() == [2.0, 3.0]
    assert base.dense[:, 0].tolist() == [0.0, 1.0]


def test_a_vector_is_divided_by_its_scale_and_zeros_where_it_is_missing():
    sides = encode(picture=[[2.0, -4, 6], None, [0.0, 0.0, 1.0]])

    assert sides.dense[:, 2:].tolist() == [[1.0, -2.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]
    assert encode(price=[1.0]).dense[:, 2:].tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("vector", "place"),
    [
        ([1.0, 2.0], "/picture/1"),
        ([], "/picture/1"),
        ([1.0, 2.0, 3.0, 4.0], "/picture/1"),
        (1.0, "/picture/1"),
        ("123", "/picture/1"),
        ([1.0, None, 3.0], "/picture/1/1"),
        ([1.0, 2.0, math.nan], "/picture/1/2"),
        ([math.inf, 2.0, 3.0], "/picture/1/0"),
        ([1.0, 1e300, 3.0], "/picture/1/1"),
        ([1.0, 10**400, 3.0], "/picture/1/1"),
        ([1.0, 2.0, "3"], "/picture/1/2"),
        ([1.0, True, 3.0], "/picture/1/1"),
        ([1.0, [2.0], 3.0], "/picture/1/1"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused_with_its_place(vector, place):
    for column in ([None, vector], [[0.0] * 3, vector], [np.zeros(3), vector]):
        with pytest.raises(EncodingError) as refused:
            encode(picture=column)
        assert refused.value.path == place


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_in_arrays_of_vectors_too(bad):
    column = np.array([[1.0, 2.0, 3.0], [1.0, bad, 3.0]])

    for vectors in (column, list(column), column.tolist()):
        with pytest.raises(EncodingError) as refused:
            encode(picture=vectors)
        assert refused.value.path == "/picture/1/1"


@given(st.lists(st.none() | st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=6))
def test_vectors_encode_to_the_same_bits_from_lists_and_from_arrays(vectors):
    arrays = [None if vector is None else np.array(vector, dtype=np.float32) for vector in vectors]

    assert encode(picture=vectors).dense.tobytes() == encode(picture=arrays).dense.tobytes()


def test_a_bad_value_of_a_sequence_is_refused_with_its_row_and_position():
    with pytest.raises(EncodingError) as refused:
        encode(seen=[[10], [], [20, "x"]])

    assert refused.value.path == "/seen/2/1"


def test_values_of_a_sequence_that_are_null_are_missing_and_keep_their_place():
    assert encode(seen=[[None, 10], [99, None]]).ids[:, 2:].tolist() == [[0, 2], [1, 0]]


def test_an_overlay_replaces_the_columns_of_a_vector_alone():
    base = encode(price=[1.0], length=[0.0], picture=[[2.0, 2.0, 2.0]])

    changed = ENCODER.overlay(base, {"picture": [[4.0, 6.0, 8.0]]})
    again = ENCODER.overlay(changed, {"length": [1.0]})

    assert changed.dense.tolist() == [[0.0, 0.0, 2.0, 3.0, 4.0]]
    assert again.dense[:, [0, 2, 3, 4]].tolist() == [[0.0, 2.0, 3.0, 4.0]]
    assert base.dense[:, 2:].tolist() == [[1.0, 1.0, 1.0]]


def test_an_overlay_of_several_fields_is_as_if_they_had_been_there_from_the_start():
    stored = {"item": [10, 20], "shop": ["x", "y"], "price": [1.0, 3.0], "picture": [[1.0] * 3, None]}
    sent = {"seen": [[10], None], "price": [5.0, None], "length": [2.0, 9.0], "picture": [None, [2.0] * 3]}

    changed = ENCODER.overlay(encode(**stored), sent)

    whole = encode(**(stored | sent))
    assert changed.ids.tobytes() == whole.ids.tobytes()
    assert changed.dense.tobytes() == whole.dense.tobytes()


@given(
    vocabulary=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-50, 50), min_size=1, max_size=60, unique=True),
    values=st.lists(st.integers(-(2**70), 2**70) | st.integers(-60, 60) | st.none(), min_size=1, max_size=60),
)
def test_a_column_of_whole_numbers_gets_the_same_ids_whether_it_is_found_by_place_or_looked_up(vocabulary, values):
    field = Categorical(name="f", side="candidate", dtype="int", table="t")
    encoder = Encoder(FeatureSchema(fields=(field,), vocabularies={"t": tuple(vocabulary)}))
    expected = [0 if v is None else vocabulary.index(v) + 2 if v in vocabulary else 1 for v in values]

    assert encoder.encode("candidate", {"f": values}, len(values)).ids[:, 0].tolist() == expected
    whole = [value for value in values if value is not None and -(2**63) <= value < 2**63]
    if whole:
        column = np.array(whole, dtype=np.int64)
        kept = [vocabulary.index(v) + 2 if v in vocabulary else 1 for v in whole]
        assert encoder.encode("candidate", {"f": column}, len(whole)).ids[:, 0].tolist() == kept
