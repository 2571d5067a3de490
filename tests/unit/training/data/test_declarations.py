"""What a dataset may say of its columns, and what of its rows' weights."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from contract.features import Sequence, Vector
from tests.every_kind import FIELDS, every_kind
from training.data.batches import batches, shuffled_batches
from training.data.columns import encode_split
from training.data.declarations import FieldDeclaration, LabelDeclaration
from training.data.format import DatasetInfo, DatasetWriter, open_dataset
from training.data.schema import fit_schema
from training.errors import DataError


def _field(**changes):
    facts = {"name": "x", "side": "candidate", "kind": "categorical", "dtype": "string"}
    return FieldDeclaration(**(facts | changes))


def _info(*fields, **changes):
    labels = (LabelDeclaration(name="ctr", kind="binary"),)
    return DatasetInfo(**({"name": "d", "fields": fields, "labels": labels, "default_formula": "ctr"} | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "float"}, "dtype is string or int"),
        ({"kind": "numeric"}, "dtype is int or float"),
        ({"kind": "vector", "dtype": "float"}, "needs dim"),
        ({"kind": "vector", "dtype": "int", "dim": 2}, "dtype is float"),
        ({"kind": "vector", "dtype": "float", "dim": 2, "scaling": "log"}, "standard or none"),
        ({"kind": "vector", "dtype": "float", "dim": 2, "scaling": "piecewise"}, "standard or none"),
        ({"kind": "hashed"}, "needs buckets"),
        ({"kind": "sequence"}, "needs max_length"),
        ({"kind": "hashed", "buckets": 4, "pretrained": "x.npz"}, "table of its own"),
        ({"shares": "y", "pretrained": "x.npz"}, "table of its own"),
        ({"frozen": True}, "needs a file"),
        ({"side": "request", "static": True}, "must be a candidate field"),
    ],
)
def test_a_field_that_contradicts_itself_is_refused_by_name(changes, words):
    with pytest.raises(ValidationError, match=words) as refused:
        _field(**changes)
    assert "'x'" in str(refused.value)


ITEM = _field(name="item")
HISTORY = {"name": "history", "side": "request", "kind": "sequence", "max_length": 3, "shares": "item"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((_field(shares="item"),), "no id field"),
        ((ITEM, _field(shares="item"), _field(name="y", shares="x")), "no id field"),
        ((_field(name="item", kind="numeric", dtype="float"), _field(shares="item")), "no id field"),
        ((ITEM, _field(shares="item", dtype="int")), "another type"),
        ((ITEM, _field(shares="item", kind="hashed", buckets=3)), "which is categorical"),
        (
            (_field(name="item", kind="hashed", buckets=4), _field(shares="item", kind="hashed", buckets=5)),
            "which has 4 buckets",
        ),
        ((ITEM, _field(**HISTORY, pooling="attention")), "needs a target"),
        ((ITEM, _field(**HISTORY, target="item")), "only attention"),
        ((ITEM, _field(**HISTORY, pooling="attention", target="nothing")), "no categorical or hashed candidate"),
        (
            (ITEM, _field(**HISTORY, pooling="attention", target="y"), _field(name="y", shares="item", side="request")),
            "no categorical or hashed candidate",
        ),
        ((ITEM, _field(**HISTORY, pooling="attention", target="y"), _field(name="y")), "another embedding table"),
        ((ITEM, ITEM), "repeat"),
        ((_field(name="ctr"),), "repeat"),
        ((_field(name="item_id"),), "repeat"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        _info(*fields)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return every_kind(tmp_path_factory.mktemp("kinds") / "data")


def test_a_vector_is_scaled_by_its_root_mean_square_or_left_alone(dataset):
    schema = fit_schema(dataset)
    fields = {field.name: field for field in schema.fields}
    rows = [row for table in dataset.row_groups("train") for row in table["picture"].combine_chunks().flatten()]
    numbers = np.array([row.as_py() for row in rows if row.is_valid], dtype=np.float64)

    assert isinstance(fields["picture"], Vector)
    assert fields["picture"].scale == pytest.approx(np.sqrt(np.mean(numbers**2)))
    assert (fields["picture"].dim, fields["picture"].project) == (5, 2)
    assert fields["taste"].scale == 1.0


def test_pooling_and_target_reach_the_schema(dataset):
    fields = {field.name: field for field in fit_schema(dataset).fields if isinstance(field, Sequence)}

    assert (fields["history"].pooling, fields["history"].target, fields["history"].table) == (
        "attention",
        "item",
        "item",
    )
    assert fields["tags"].pooling == "sum"
    assert fields["tags_seen"].table == "tags"


def _rewritten(dataset, folder, change, **info):
    """Write the dataset again with its training rows changed."""
    changed = dataset.info.model_copy(update={"splits": {}, **info})
    with DatasetWriter(folder, changed) as writer:
        for name in ("items.npz", "tags.parquet"):
            writer.add_file(dataset.path / name)
        for split in dataset.info.splits:
            for table in dataset.row_groups(split):
                writer.write(split, change(table) if split == "train" else table)
    return open_dataset(folder)


def _set(table, name, values):
    position = table.column_names.index(name)
    return table.set_column(position, name, pa.array(values, table.schema.field(name).type))


def _with_weights(change):
    def changed(table):
        lists = [[change(weight) for weight in weights] for weights in table["importance"].to_pylist()]
        return _set(table, "importance", lists)

    return changed


def _weights(dataset, folder):
    return encode_split(dataset, "train", fit_schema(dataset), folder).weights


def test_weights_are_one_in_the_mean_of_a_split_and_stand_by_their_rows(dataset, tmp_path):
    split = encode_split(dataset, "train", fit_schema(dataset), tmp_path)
    lists = [table["importance"].combine_chunks() for table in dataset.row_groups("train")]
    raw = np.concatenate([each.flatten().to_numpy() for each in lists])

    np.testing.assert_allclose(split.weights, raw / raw.mean(), rtol=1e-6)
    plain = np.concatenate([batch.weights for batch in batches(split, requests=7)])
    np.testing.assert_array_equal(plain, split.weights)


def test_shuffling_keeps_every_weight_with_its_row(dataset, tmp_path):
    split = encode_split(dataset, "train", fit_schema(dataset), tmp_path)

    def pairs(stream):
        parts = [np.column_stack([batch.weights, batch.inputs.candidate.dense]) for batch in stream]
        return np.array(sorted(map(tuple, np.concatenate(parts))))

    mixed = pairs(shuffled_batches(split, requests=7, rng=np.random.default_rng(0)))

    np.testing.assert_array_equal(mixed, pairs(batches(split, requests=7)))


def test_another_unit_of_the_weights_changes_nothing(dataset, tmp_path):
    doubled = _rewritten(dataset, tmp_path / "doubled", _with_weights(lambda weight: 2 * weight))

    first, second = _weights(dataset, tmp_path / "a"), _weights(doubled, tmp_path / "b")

    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), None])
def test_a_weight_that_cannot_be_used_is_refused_when_it_is_written(bad, dataset, tmp_path):
    with pytest.raises(DataError, match="importance"):
        _rewritten(dataset, tmp_path / "bad", _with_weights(lambda weight: bad if weight == 2.0 else weight))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [-1.0, float("nan"), None])
def test_a_weight_that_cannot_be_used_is_refused_when_it_is_read(bad, dataset, tmp_path):
    copy = _rewritten(dataset, tmp_path / "bad", lambda table: table)
    path = copy.path / "train.parquet"
    table = _with_weights(lambda weight: bad if weight == 2.0 else weight)(pq.read_table(path))
    pq.write_table(table, path)

    with pytest.raises(DataError, match="importance"):
        _weights(copy, tmp_path / "columns")


def test_weights_that_are_all_zero_are_refused(dataset, tmp_path):
    empty = _rewritten(dataset, tmp_path / "zero", _with_weights(lambda _: 0.0))

    with pytest.raises(DataError, match="every weight is 0"):
        _weights(empty, tmp_path / "columns")


def test_a_dataset_without_weights_has_none(dataset, tmp_path):
    plain = _rewritten(dataset, tmp_path / "plain", lambda table: table, weight=None)

    split = encode_split(plain, "train", fit_schema(plain), tmp_path / "columns")

    assert split.weights is None
    assert all(batch.weights is None for batch in batches(split, requests=9))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("picture", [1.0, 2.0], "2 numbers, the field takes 5"),
        ("picture", [1.0, 2.0, float("nan"), 4.0, 5.0], "missing, infinite"),
        ("price", float("inf"), "infinite"),
    ],
)
def test_a_row_that_does_not_fit_is_the_data_sets_fault_and_named(name, value, words, dataset, tmp_path):
    def spoiled(table):
        lists = table[name].to_pylist()
        lists[3][1] = value
        return _set(table, name, lists)

    broken = _rewritten(dataset, tmp_path / "broken", spoiled)

    with pytest.raises(DataError, match=f"train: /{name}/.*{words}"):
        encode_split(broken, "train", fit_schema(broken), tmp_path / "columns")


def test_a_dataset_that_lost_the_vectors_its_table_starts_from_is_named(dataset, tmp_path):
    copy = _rewritten(dataset, tmp_path / "copy", lambda table: table)
    (copy.path / "tags.parquet").unlink()

    with pytest.raises(DataError, match=r"tags\.parquet"):
        open_dataset(copy.path)


def test_other_vectors_to_start_from_make_another_dataset(dataset, tmp_path):
    copy = _rewritten(dataset, tmp_path / "copy", lambda table: table)
    assert copy.fingerprint == dataset.fingerprint

    np.savez(copy.path / "items.npz", value=np.array(["i1"]), vector=np.ones((1, 6)))

    assert copy.fingerprint != dataset.fingerprint


def test_the_dataset_of_these_tests_has_every_kind_on_a_side_that_matters():
    kinds = {(field.side, field.kind) for field in FIELDS}

    assert {kind for _, kind in kinds} == {"categorical", "hashed", "sequence", "numeric", "vector"}
    assert {("request", "sequence"), ("candidate", "sequence"), ("request", "vector"), ("candidate", "vector")} <= kinds
