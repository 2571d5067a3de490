"""The schema refuses what could not be served."""

import pytest
from pydantic import ValidationError

from contract.features import (
    Categorical,
    FeatureSchema,
    Hashed,
    Numeric,
    Piecewise,
    Quantile,
    Sequence,
    Standard,
    Vector,
)

ITEM = Categorical(name="item", side="candidate", dtype="string", table="item")
SHOP = Hashed(name="shop", side="candidate", dtype="int", table="shop", buckets=10)
WORDS = {"item": ("a", "b")}


def _history(**changes):
    facts = {"name": "history", "side": "request", "dtype": "string", "table": "item", "max_length": 3}
    return Sequence(**(facts | changes))


def _schema(*fields):
    return FeatureSchema(fields=fields, vocabularies=WORDS)


def test_a_sequence_of_an_older_manifest_is_pooled_by_its_mean():
    field = Sequence.model_validate_json(
        '{"kind":"sequence","name":"h","side":"request","dtype":"int","table":"t","max_length":2}'
    )

    assert (field.pooling, field.target) == ("mean", None)


@pytest.mark.parametrize(("pooling", "target"), [("attention", None), ("mean", "item"), ("sum", "item")])
def test_a_target_goes_with_attention_and_with_nothing_else(pooling, target):
    with pytest.raises(ValidationError, match="attention needs a target"):
        _history(pooling=pooling, target=target)


@pytest.mark.parametrize(
    "others",
    [
        (),
        (SHOP.model_copy(update={"name": "item"}),),
        (ITEM.model_copy(update={"side": "request"}),),
        (Numeric(name="item", side="candidate", scaling=Standard(mean=0, std=1)),),
        (_history(name="item", side="candidate"),),
    ],
    ids=["no such field", "another table", "the request side", "a number", "a sequence"],
)
def test_the_target_is_a_candidate_id_of_the_same_table(others):
    with pytest.raises(ValidationError, match="target"):
        _schema(_history(pooling="attention", target="item"), *others)


@pytest.mark.parametrize("side", ["request", "candidate"])
def test_a_sequence_of_either_side_may_attend_to_a_hashed_field(side):
    _schema(SHOP, _history(side=side, dtype="int", table="shop", pooling="attention", target="shop"))


def test_a_sequence_needs_a_table_that_something_fills():
    with pytest.raises(ValidationError, match="neither vocabulary nor buckets"):
        _schema(_history(table="nothing"))


def test_hashed_fields_of_one_table_hash_alike():
    with pytest.raises(ValidationError, match="buckets"):
        _schema(SHOP, SHOP.model_copy(update={"name": "other", "buckets": 11}))


def test_numbers_stand_before_vectors_whatever_the_order_of_the_fields():
    vector = Vector(name="picture", side="candidate", dim=3)
    number = Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1))
    schema = _schema(vector, ITEM, number, _history())

    assert schema.dense_spans("candidate") == {"price": slice(0, 1), "picture": slice(1, 4)}
    assert schema.id_spans("request") == {"history": slice(0, 3)}
    assert (schema.dense_columns("candidate"), schema.id_columns("candidate")) == (4, 1)
    assert (schema.dense_columns("request"), schema.id_columns("request")) == (0, 3)


def test_a_piecewise_number_takes_a_column_a_bin_and_comes_back_from_the_manifest_as_it_was():
    edges = (0.0, 0.1 + 0.2, 1e300)
    length = Numeric(name="length", side="candidate", scaling=Piecewise(points=edges), default=0.25)
    price = Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1))
    schema = _schema(Vector(name="picture", side="candidate", dim=3), length, ITEM, price)

    assert schema.dense_spans("candidate") == {"length": slice(0, 2), "price": slice(2, 3), "picture": slice(3, 6)}
    assert schema.dense_columns("candidate") == 6
    assert FeatureSchema.model_validate_json(schema.model_dump_json()) == schema


@pytest.mark.parametrize("scaling", [Piecewise, Quantile])
@pytest.mark.parametrize("points", [(), (1.0,), (1.0, 1.0), (2.0, 1.0), (0.0, float("nan"), 1.0), (0.0, float("inf"))])
def test_points_that_do_not_rise_from_number_to_number_are_refused(scaling, points):
    with pytest.raises(ValidationError, match="points"):
        scaling(points=points)


@pytest.mark.parametrize(("name", "value"), [("dim", 0), ("scale", 0.0), ("scale", float("nan")), ("project", 0)])
def test_a_vector_has_a_size_and_a_scale(name, value):
    with pytest.raises(ValidationError, match=name):
        Vector(**({"name": "v", "side": "request", "dim": 2} | {name: value}))
