"""KuaiRand and Census-Income: splits, labels and what was known."""

import dataclasses
import gzip
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from training.data import census, kuairand
from training.errors import DataError

HOME = Path(os.environ.get("FULCRUM_DATA", Path(__file__).parents[5] / "shared" / "data"))
needs_kuairand = pytest.mark.skipif(not (HOME / "kuairand").is_dir(), reason="KuaiRand is not beside this checkout")
needs_census = pytest.mark.skipif(not (HOME / "census").is_dir(), reason="Census-Income is not beside this checkout")


def _tables(dataset, split):
    return [row for table in dataset.row_groups(split) for row in table.to_pylist()]


@needs_kuairand
@pytest.mark.data
def test_a_kuairand_list_is_one_user_on_one_day_and_days_are_split_in_order(tmp_path):
    dataset = kuairand.prepare(HOME / "kuairand", tmp_path / "data")
    days = {
        split: {row["request_id"].split("-")[1] for row in _tables(dataset, split)} for split in dataset.info.splits
    }

    assert max(days["train"]) < min(days["validation"]) <= max(days["validation"]) < min(days["test"])
    assert sum(split.rows for split in dataset.info.splits.values()) == 37_896


@needs_kuairand
@pytest.mark.data
def test_play_time_is_a_label_of_clicked_rows_alone_and_no_outcome_is_a_field(tmp_path):
    dataset = kuairand.prepare(HOME / "kuairand", tmp_path / "data", rows=5_000)
    names = {field.name for field in dataset.info.fields}

    assert not names & {
        "play_time_ms",
        "comment_stay_time",
        "is_click",
        "long_view",
        "label",
        "is_follow",
        "is_forward",
    }
    for row in _tables(dataset, "test"):
        assert [seconds is not None for seconds in row["duration"]] == [click == 1.0 for click in row["ctr"]]


@needs_kuairand
@pytest.mark.data
def test_no_kuairand_feature_knows_what_happened_in_its_own_list_or_later():
    lists = list(itertools.islice(kuairand.read_lists(HOME / "kuairand"), 1_000))
    moment = lists[len(lists) // 2][0].time
    changed = [
        [
            dataclasses.replace(shown, click=1 - shown.click, like=1 - shown.like, long_view=1 - shown.long_view)
            if shown.time >= moment
            else shown
            for shown in one
        ]
        for one in lists
    ]

    def known(lists):
        featurised = kuairand.featurise(lists, prior=kuairand.EXTRACT_PRIOR)
        return [repr([features for _, features in one]) for one in featurised if one[0][0].time <= moment]

    assert known(lists) == known(changed)
    assert len(known(lists)) > 100


@needs_census
@pytest.mark.data
@pytest.mark.parametrize(("protocol", "fields"), [("census-a", 31), ("census-b", 38 + 7)])
def test_census_protocols_keep_labels_and_weights_out_of_the_inputs(tmp_path, protocol, fields):
    dataset = census.prepare(HOME / "census", tmp_path / "data", protocol=protocol, rows=3_000)
    names = {field.name for field in dataset.info.fields}
    ids = [row["request_id"] for split in dataset.info.splits for row in _tables(dataset, split)]

    assert len(names) == fields
    assert not names & {"education", "marital_stat", "instance_weight", "income", "split"}
    assert len(set(ids)) == len(ids)
    rates = np.mean([row["income_above_50k"][0] for row in _tables(dataset, "train")])
    assert 0.03 < rates < 0.1


@needs_census
@pytest.mark.data
@pytest.mark.parametrize("protocol", ["census-a-education", "census-b-education"])
def test_the_second_pair_of_census_tasks_is_education_and_marriage(tmp_path, protocol):
    dataset = census.prepare(HOME / "census", tmp_path / "data", protocol=protocol, rows=3_000)
    rows = list(_tables(dataset, "train"))

    assert [label.name for label in dataset.info.labels] == ["college", "never_married"]
    assert not {field.name for field in dataset.info.fields} & {"education", "marital_stat", "income"}
    assert 0.28 < np.mean([row["college"][0] for row in rows]) < 0.40


def test_the_papers_own_protocol_reads_the_official_files(tmp_path):
    line = ["30", *["x"] * (len(census.COLUMNS) - 2), "- 50000."]
    for number in census.NUMBERS:
        line[census.COLUMNS.index(number)] = "1"
    line[census.COLUMNS.index("marital_stat")] = "Never married"
    for name, rows in (("census-income.data.gz", 8), ("census-income.test.gz", 6)):
        with gzip.open(tmp_path / name, "wt") as file:
            file.write((", ".join(line) + "\n") * rows)

    dataset = census.prepare(tmp_path, tmp_path / "data", protocol="census-income")

    assert {name: split.rows for name, split in dataset.info.splits.items()} == {"train": 8, "validation": 3, "test": 3}
    assert _tables(dataset, "train")[0]["never_married"] == [1.0]


def test_an_official_file_that_was_cut_is_named(tmp_path):
    with gzip.open(tmp_path / "census-income.test.gz", "wt") as file:
        file.write("38, Private\n")

    with pytest.raises(DataError, match="line 1"):
        census.read_official(tmp_path / "census-income.test.gz")
