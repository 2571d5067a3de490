import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.decode import ENVELOPE, Decoder, parse_object
from service.errors import InvalidRequest

DECODER = Decoder(max_candidates=1000, default_deadline_ms=None, clock=lambda: 10.0)
ONE = {"item_id": ["a"]}

BAD = [
    (b'{"candidates": NaN}', "malformed_body", ""),
    (b'{"top_k": Infinity}', "malformed_body", ""),
    (b'{"top_k": 1e999}', "malformed_body", ""),
    (b"[" * 100_000, "malformed_body", ""),
    (b"\xff", "malformed_body", ""),
    (b"[]", "malformed_body", ""),
    ({"candidate": ONE}, "invalid_field", "/candidate"),
    ({}, "invalid_field", "/candidates"),
    ({"candidates": []}, "empty_candidates", "/candidates"),
    ({"candidates": {"item_id": []}}, "empty_candidates", "/candidates"),
    ({"candidates": {"item_id": ["a"] * 100_000}}, "too_many_candidates", "/candidates"),
    ({"candidates": [{"item_id": "a"}] * 100_000}, "too_many_candidates", "/candidates"),
    ({"candidates": {"price": [1]}}, "invalid_field", "/candidates/item_id"),
    ({"candidates": {"item_id": ["a", 2.5]}}, "invalid_field", "/candidates/item_id/1"),
    ({"candidates": {"item_id": [2, True]}}, "invalid_field", "/candidates/item_id/1"),
    ({"candidates": [{"item_id": "a"}, {"price": 1}]}, "invalid_field", "/candidates/1/item_id"),
    ({"candidates": ["a"]}, "invalid_field", "/candidates/0"),
    ({"candidates": {**ONE, "price": [1, 2]}}, "invalid_field", "/candidates/price"),
    ({"candidates": ONE, "top_k": 0}, "invalid_field", "/top_k"),
    ({"candidates": ONE, "top_k": True}, "invalid_field", "/top_k"),
    ({"candidates": ONE, "deadline_ms": -1}, "invalid_field", "/deadline_ms"),
    ({"candidates": ONE, "deadline_ms": 1e300}, "invalid_field", "/deadline_ms"),
    ({"candidates": ONE, "weights": {"a/b": "1"}}, "invalid_field", "/weights/a~1b"),
    ({"candidates": ONE, "return": ["tails"]}, "invalid_field", "/return/0"),
    ({"candidates": ONE, "return": [{}]}, "invalid_field", "/return/0"),
    ({"candidates": ONE, "model": ""}, "invalid_field", "/model"),
    ({"candidates": ONE, "request": []}, "invalid_field", "/request"),
]


def _decode(body):
    return DECODER.decode(parse_object(body if isinstance(body, bytes) else orjson.dumps(body)), request_id="r")


@pytest.mark.parametrize(("body", "code", "path"), BAD)
def test_a_bad_body_is_refused_with_its_own_code_its_place_and_how_to_mend_it(body, code, path):
    with pytest.raises(InvalidRequest) as refused:
        _decode(body)

    assert (refused.value.code, refused.value.path) == (code, path)
    assert refused.value.fix


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant():
    with pytest.raises(InvalidRequest) as refused:
        _decode({"candidatse": ONE})

    assert "did you mean 'candidates'?" in refused.value.fix


def test_rows_and_columns_say_the_same():
    rows = _decode({"candidates": [{"item_id": "a", "price": 1}, {"item_id": "b"}]})
    columns = _decode({"candidates": {"item_id": ["a", "b"], "price": [1, None]}})

    assert (rows.item_ids, rows.candidates) == (columns.item_ids, columns.candidates)


def test_a_deadline_is_a_point_in_time_counted_from_now():
    assert _decode({"candidates": ONE, "deadline_ms": 250}).deadline == 10.25


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=7), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(ENVELOPE) | st.text(max_size=5), _json, max_size=5))
def test_any_document_is_either_a_query_or_a_clear_refusal(document):
    try:
        outcome = DECODER.decode(document, request_id="r").item_ids
    except InvalidRequest as refused:
        outcome = refused.fix

    assert outcome


def test_whole_numbers_are_item_ids_as_they_are():
    assert _decode({"candidates": {"item_id": [7, 3]}}).item_ids == [7, 3]
