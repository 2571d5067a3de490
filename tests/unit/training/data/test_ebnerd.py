"""EB-NeRD: two groups of rows in memory at most, whatever the size; a share of it on request; clear refusals."""

import weakref

import pytest

from tests.rawsets import write_ebnerd
from training.data import ebnerd
from training.errors import DataError


def _times(dataset, split):
    return [time for table in dataset.row_groups(split) for time in table["time"].to_pylist()]


@pytest.mark.parametrize("lists", [150, 600])
def test_however_many_impressions_there_are_no_more_than_two_groups_of_them_are_prepared_in_memory(
    tmp_path, monkeypatch, lists
):
    alive, counts = set(), []

    def watched(impressions, raw, featurise=ebnerd.featurise):
        for number, row in enumerate(featurise(impressions, raw)):
            alive.add(number)
            weakref.finalize(row, alive.discard, number)
            counts.append(len(alive))
            yield row

    monkeypatch.setattr(ebnerd, "_GROUP", 20)
    monkeypatch.setattr(ebnerd, "featurise", watched)

    dataset = ebnerd.prepare(write_ebnerd(tmp_path / "raw", train=lists, validation=lists), tmp_path / "data")

    assert len(counts) == 2 * lists == sum(split.requests for split in dataset.info.splits.values())
    assert max(counts) <= 2 * 20 + 2  # the group being gathered and the one just written


def test_a_share_of_the_data_is_the_newest_of_train_and_the_oldest_of_what_follows(tmp_path):
    raw = write_ebnerd(tmp_path / "raw")
    whole = ebnerd.prepare(raw, tmp_path / "whole")

    half = ebnerd.prepare(raw, tmp_path / "half", rows=whole.info.splits["train"].rows // 2)

    for split, newest in (("train", True), ("validation", False), ("test", False)):
        kept, all_of_them = _times(half, split), _times(whole, split)
        assert len(kept) == pytest.approx(len(all_of_them) / 2, abs=1)
        assert kept == (all_of_them[-len(kept) :] if newest else all_of_them[: len(kept)])


def test_a_list_that_is_kept_knows_of_those_that_are_not(tmp_path):
    raw = write_ebnerd(tmp_path / "raw")
    whole, few = ebnerd.prepare(raw, tmp_path / "whole"), ebnerd.prepare(raw, tmp_path / "few", rows=60)

    kept = next(iter(few.row_groups("train")))

    # repr, because a NaN is not equal to itself
    assert repr(kept.to_pylist()) == repr(next(iter(whole.row_groups("train"))).to_pylist()[-len(kept) :])


def test_even_one_row_leaves_a_list_in_every_split(tmp_path):
    dataset = ebnerd.prepare(write_ebnerd(tmp_path / "raw"), tmp_path / "data", rows=1)

    assert {name: split.requests for name, split in dataset.info.splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), 1
    )


@pytest.mark.parametrize("sizes", [{"train": 0}, {"train": 1}, {"validation": 0}])
def test_a_log_that_cannot_be_split_in_time_is_refused(tmp_path, sizes):
    raw = write_ebnerd(tmp_path / "raw", **sizes)

    with pytest.raises(DataError, match="more than a day"):
        ebnerd.prepare(raw, tmp_path / "data")

    assert not (tmp_path / "data").exists()
