"""Prepared data: the simulator's truth, splits in time, one encoding, flat memory, clear refusals."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contract.encoding import Encoder
from contract.features import Numeric, Sequence
from training import metrics
from training.data.batches import batches, shuffled_batches
from training.data.columns import encode_split
from training.data.format import DatasetWriter, open_dataset
from training.data.schema import fit_schema
from training.data.simulator import SimulatedWorld, WorldConfig, prepare
from training.data.sources import prepare_dataset
from training.errors import DataError
from training.golden import encode_query, plain_queries

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("data") / "simulated", rows=6_000, seed=3)


@pytest.fixture(scope="module")
def encoded(dataset, tmp_path_factory):
    schema = fit_schema(dataset)
    return schema, encode_split(dataset, "test", schema, tmp_path_factory.mktemp("columns"))


def _lists(world, count=2_000):
    return world.draw_lists(count, np.random.default_rng(0))


def test_the_simulated_truth_is_worth_learning():
    world = SimulatedWorld(WorldConfig(), seed=0)
    lists = _lists(world)
    labels = world.labels(lists, np.random.default_rng(1))

    assert metrics.auc(labels["ctr"], world.truth(lists)["ctr"]) > 0.7


def test_the_expected_duration_is_the_mean_of_what_happens():
    world = SimulatedWorld(WorldConfig(), seed=0)
    lists = _lists(world, 20_000)
    clicked = np.isfinite(world.labels(lists, np.random.default_rng(1))["duration"])
    seconds = world.labels(lists, np.random.default_rng(1))["duration"][clicked]

    assert seconds.mean() == pytest.approx(world.truth(lists)["duration_seconds"][clicked].mean(), rel=0.03)


def test_tasks_agree_more_as_rho_grows():
    def correlation(rho):
        world = SimulatedWorld(WorldConfig(rho=rho), seed=0)
        product = world.item_factors
        return np.corrcoef(product @ world.click_direction, product @ world.time_direction)[0, 1]

    assert correlation(1.0) == pytest.approx(1.0)
    assert correlation(-0.5) < correlation(0.0) < correlation(0.5) < correlation(0.9)


def test_the_same_seed_gives_the_same_data(tmp_path):
    first, second = (prepare(tmp_path / name, rows=1_000, seed=5) for name in "ab")

    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != prepare(tmp_path / "c", rows=1_000, seed=6).fingerprint


def test_splits_follow_each_other_in_time(dataset):
    spans = [dataset.info.splits[name] for name in ("train", "validation", "test")]

    assert all(a.last_time < b.first_time for a, b in pairwise(spans))


def test_the_schema_reads_nothing_of_the_held_out_splits(dataset, tmp_path):
    fitted = fit_schema(dataset)
    (dataset.path / "test.parquet").rename(tmp_path / "test.parquet")
    try:
        assert fit_schema(dataset) == fitted
    finally:
        (tmp_path / "test.parquet").rename(dataset.path / "test.parquet")


def test_logged_rows_encode_bit_for_bit_as_the_same_rows_sent_as_json(dataset, encoded):
    schema, split = encoded
    encoder = Encoder(schema)
    table = next(iter(dataset.row_groups("test")))

    for row, query in enumerate(json.loads(json.dumps(plain_queries(dataset, table)))):
        online, offline = encode_query(encoder, query), split.span(row, row + 1)
        for name, array in online.feeds().items():
            np.testing.assert_array_equal(array, offline.feeds()[name])


def test_every_list_comes_once_an_epoch_with_its_own_rows(encoded):
    _, split = encoded

    def rows(stream):
        out = [
            (batch.inputs.request.dense[batch.inputs.request_index], batch.inputs.candidate.dense, batch.labels["ctr"])
            for batch in stream
        ]
        return np.concatenate([np.column_stack(parts) for parts in out])

    plain = rows(batches(split, requests=16))
    mixed = rows(shuffled_batches(split, requests=16, rng=np.random.default_rng(0)))

    assert not np.array_equal(plain, mixed)
    np.testing.assert_array_equal(np.sort(plain, axis=0), np.sort(mixed, axis=0))


def test_numbers_are_scaled_and_sequences_share_their_table(encoded):
    schema, split = encoded
    numbers = [f for f in schema.on("candidate") if isinstance(f, Numeric)]
    history = next(f for f in schema.on("request") if isinstance(f, Sequence))

    assert history.table == "item"
    assert np.abs(split.candidate.dense.mean(axis=0)).max() < 0.3
    assert len(numbers) == split.candidate.dense.shape[1]


def test_a_writer_that_fails_leaves_nothing(dataset, tmp_path):
    with pytest.raises(DataError, match="do not fit"), DatasetWriter(tmp_path / "new", dataset.info) as writer:
        writer.write("train", pa.table({"request_id": ["a"]}))

    assert list(tmp_path.iterdir()) == []


def test_lists_of_unequal_length_are_refused_by_name(dataset, tmp_path):
    table = next(iter(dataset.row_groups("test")))
    short = pa.array([values[:-1] for values in table["ctr"].to_pylist()], pa.list_(pa.float32()))
    table = table.set_column(table.column_names.index("ctr"), "ctr", short)

    with pytest.raises(DataError, match="'ctr'"), DatasetWriter(tmp_path / "new", dataset.info) as writer:
        writer.write("test", table)


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")

    with pytest.raises(DataError, match="no prepared dataset"):
        prepare(tmp_path / "mine", rows=500)

    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_prepared_dataset_that_lost_a_column_is_named(dataset, tmp_path):
    copy = prepare(tmp_path / "copy", rows=500)
    info = json.loads((copy.path / "dataset.json").read_text())
    info["labels"][0]["name"] = "purchase"
    (copy.path / "dataset.json").write_text(json.dumps(info))

    with pytest.raises(DataError, match="'purchase'"):
        open_dataset(copy.path)


def test_an_unknown_source_names_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="simulator"):
        prepare_dataset("movielens", tmp_path / "x")


_PEAK = """
import resource, sys, tempfile, pathlib
from training.data.simulator import prepare
from training.data.schema import fit_schema
from training.data.columns import encode_split
from training.data.batches import shuffled_batches
import numpy as np
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    data = prepare(folder / "data", rows=int(sys.argv[1]))
    schema = fit_schema(data)
    split = encode_split(data, "train", schema, folder / "columns")
    for batch in shuffled_batches(split, requests=128, rng=np.random.default_rng(0)):
        pass
pages = [line for line in open("/proc/self/status") if line.startswith("RssAnon")]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, pages)
"""


@pytest.mark.slow
def test_memory_stays_flat_as_rows_grow():
    def peak_kib(rows):
        command = [sys.executable, "-c", _PEAK, str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        return int(done.stdout.split()[0])

    small, large = peak_kib(100_000), peak_kib(1_000_000)

    # Ten times the rows; what grows is the page cache of mapped files that a process is charged with.
    assert large < 2.0 * small, (small, large)
