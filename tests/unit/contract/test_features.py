"""The schema refuses what could not be served."""

import pytest
from pydantic import ValidationError

from contract.features import Categorical, FeatureSchema, Hashed, Numeric, Sequence, Standard, Vector

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

    assert [field.name for field in schema.dense_on("candidate")] == ["price", "picture"]
    assert (schema.dense_columns("candidate"), schema.id_columns("candidate")) == (4, 1)
    assert (schema.dense_columns("request"), schema.id_columns("request")) == (0, 3)


@pytest.mark.parametrize(("name", "value"), [("dim", 0), ("scale", 0.0), ("scale", float("nan")), ("project", 0)])
def test_a_vector_has_a_size_and_a_scale(name, value):
    with pytest.raises(ValidationError, match=name):
        Vector(**({"name": "v", "side": "request", "dim": 2} | {name: value}))
