"""Tables that start from vectors made elsewhere."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import training.balancing
from contract.tasks import BinaryTask, DurationTask
from tests.every_kind import DIM, ITEMS, TAG_VECTORS, TAGS, every_kind
from training.balancing.base import balancers
from training.config import OptimConfig, TrainConfig
from training.data.columns import encode_split
from training.data.schema import fit_schema
from training.errors import DataError
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.pretrained import read_vectors, reduced, start_pretrained
from training.trainer import fit

TASKS = (BinaryTask(name="ctr"), BinaryTask(name="like", given="ctr"), DurationTask(name="duration", given="ctr"))
_ = training.balancing  # filled the registry


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    dataset = every_kind(folder / "data", lists=60)
    schema = fit_schema(dataset)
    splits = [encode_split(dataset, split, schema, folder / split) for split in ("train", "validation")]
    return dataset, schema, splits


def _model(prepared, **sizes):
    dataset, schema, _ = prepared
    torch.manual_seed(0)
    config = ModelConfig(**({"embedding_dim": DIM, "hidden": (8,), "tower_hidden": ()} | sizes))
    model = build_model("shared_bottom", schema, TASKS, config)
    before = _rows(model, "item", schema, ITEMS)
    start_pretrained(model, dataset, schema)
    return model, before


def _rows(model, table, schema, values):
    """Give the vectors of some values, by value."""
    embedding = model.features.embedding
    places = {value: embedding.starts[table] + 2 + row for row, value in enumerate(schema.vocabularies[table])}
    return {
        value: embedding.weight.weight[places[value]].detach().clone().numpy() for value in values if value in places
    }


def test_a_table_starts_from_its_file_and_what_the_file_lacks_starts_at_random(prepared):
    dataset, schema, _ = prepared
    model, before = _model(prepared)
    values, vectors = read_vectors(dataset.path / "items.npz")
    wanted = dict(zip(values, reduced(vectors, DIM, dataset.path), strict=True))
    rows = _rows(model, "item", schema, ITEMS)

    assert set(rows) - set(wanted) == set(ITEMS[20:])
    for item, row in rows.items():
        np.testing.assert_array_equal(row, wanted.get(item, before[item]))


def _train(prepared, model, **changes):
    _, _, splits = prepared
    config = TrainConfig(
        data="", arch="shared_bottom", epochs=2, optim=OptimConfig(batch_requests=8, learning_rate=0.05), **changes
    )
    fit(model, *splits, config)
    return model


@pytest.mark.parametrize("balancer", list(balancers()))
def test_a_frozen_table_is_its_file_bit_for_bit_after_training_whatever_balances_the_losses(balancer, prepared):
    _, schema, _ = prepared
    model = _train(prepared, _model(prepared)[0], balancer=balancer)

    for tag, row in _rows(model, "tags", schema, TAGS).items():
        np.testing.assert_array_equal(row, TAG_VECTORS[TAGS.index(tag)].astype(np.float32))
    start = model.features.embedding.starts["tags"]
    assert torch.count_nonzero(model.features.embedding.weight.weight[start : start + 2]) == 0  # missing and unknown


def test_a_table_that_is_not_frozen_learns_on(prepared):
    _, schema, _ = prepared
    model, _ = _model(prepared)
    before = _rows(model, "item", schema, ITEMS)

    after = _rows(_train(prepared, model), "item", schema, ITEMS)

    assert all(not np.array_equal(before[item], after[item]) for item in before)


def test_every_network_of_a_model_starts_from_the_file(prepared):
    dataset, schema, _ = prepared
    model = build_model("single_task", schema, TASKS, ModelConfig(embedding_dim=DIM, hidden=(8,), tower_hidden=()))

    start_pretrained(model, dataset, schema)

    tables = [m for m in model.modules() if type(m).__name__ == "FeatureEmbedding"]
    start = tables[0].starts["tags"]
    rows = slice(start, start + 2 + len(TAGS))
    assert all(torch.equal(table.weight.weight[rows], tables[0].weight.weight[rows]) for table in tables)
    assert torch.count_nonzero(tables[0].weight.weight[start + 2 : start + 2 + len(TAGS)]) > 0


def test_wider_vectors_keep_what_a_table_of_that_width_can_hold():
    """Vectors that lie in a plane of a space lose nothing: all their products stay."""
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(7, 2)))[0]
    vectors = rng.normal(size=(50, 2)) @ plane.T

    kept = reduced(vectors, 2, None).astype(np.float64)

    np.testing.assert_allclose(kept @ kept.T, vectors @ vectors.T, atol=1e-5)


def test_of_all_projections_the_one_with_the_smallest_error_is_taken():
    vectors = np.random.default_rng(1).normal(size=(40, 6)) * np.array([5.0, 0.1, 3.0, 0.1, 4.0, 0.1])

    kept = reduced(vectors, 3, None)

    singular = np.linalg.svd(vectors, compute_uv=False)
    assert np.sum(kept.astype(np.float64) ** 2) == pytest.approx(np.sum(singular[:3] ** 2), rel=1e-5)


def test_vectors_of_the_tables_width_are_taken_as_they_are():
    vectors = np.random.default_rng(0).normal(size=(5, 3))

    np.testing.assert_array_equal(reduced(vectors, 3, None), vectors.astype(np.float32))


def test_vectors_that_are_narrower_than_the_table_are_refused(prepared):
    with pytest.raises(DataError, match="lower the embedding dim"):
        _model(prepared, embedding_dim=7)


def test_both_formats_give_the_same(tmp_path):
    values, vectors = ["a", "b", "c"], np.arange(6.0).reshape(3, 2)
    np.savez(tmp_path / "v.npz", value=np.array(values), vector=vectors)
    lists = pa.array(vectors.tolist(), pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"value": values, "vector": lists}), tmp_path / "v.parquet")

    first, second = read_vectors(tmp_path / "v.npz"), read_vectors(tmp_path / "v.parquet")

    assert first[0] == second[0] == values
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize(
    "columns",
    [
        {"value": ["a", "b"], "vector": [[1.0, 2.0, 3.0], [3.0]]},
        {"value": ["a", "b"], "vector": [[1.0, 2.0], None]},
        {"value": ["a", "b"], "vector": [[1.0, 2.0], [3.0, float("nan")]]},
        {"value": ["a", "b"], "vectors": [[1.0], [2.0]]},
    ],
    ids=["uneven", "null", "not finite", "another name"],
)
def test_a_file_of_something_else_is_refused_by_name(columns, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")

    with pytest.raises(DataError, match=r"bad\.parquet"):
        read_vectors(tmp_path / "bad.parquet")


@pytest.mark.parametrize("name", ["bad.npz", "bad.parquet"])
def test_a_file_that_cannot_be_read_is_refused_by_name(name, tmp_path):
    (tmp_path / name).write_bytes(b"neither")

    with pytest.raises(DataError, match=name):
        read_vectors(tmp_path / name)


def test_values_of_another_type_than_the_field_are_noticed(prepared):
    dataset = prepared[0]
    kept = dataset.path / "items.npz"
    stored = kept.read_bytes()
    np.savez(kept, value=np.arange(20), vector=np.ones((20, 6)))
    try:
        with pytest.raises(DataError, match="none of the"):
            _model(prepared)
    finally:
        kept.write_bytes(stored)
