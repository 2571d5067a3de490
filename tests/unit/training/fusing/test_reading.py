"""A log is read as it was written, and refused where it could not be split by time."""

import numpy as np
import pytest

from contract.errors import ContractError
from tests.unit.training.fusing.logs import DOCUMENT, some_log, write_log
from training.errors import LogError
from training.fusing.log import LogSource
from training.fusing.reading import Roles, read_log


def test_a_log_comes_back_as_it_was_written(tmp_path):
    log = some_log(40)

    read = read_log(write_log(log, tmp_path / "log.parquet"))

    assert read.document == log.document
    assert read.requests.tolist() == log.requests.tolist()
    assert (read.times == log.times).all()
    assert (read.offsets == log.offsets).all()
    for name, column in log.columns.items():
        np.testing.assert_array_equal(read.columns[name], column)


def test_a_folder_of_files_is_one_log_in_order_of_their_names(tmp_path):
    write_log(some_log(5, seed=2, first=100), tmp_path / "b.parquet")
    write_log(some_log(5, seed=1), tmp_path / "a.parquet")

    assert read_log(tmp_path).requests.tolist() == [f"r{n}" for n in (*range(5), *range(100, 105))]


def test_other_bytes_have_another_fingerprint(tmp_path):
    one = read_log(write_log(some_log(5), tmp_path / "a.parquet")).fingerprint

    assert read_log(write_log(some_log(5), tmp_path / "b.parquet")).fingerprint == one
    assert read_log(write_log(some_log(6), tmp_path / "c.parquet")).fingerprint != one


def test_the_caller_says_which_columns_are_which_where_the_log_does_not(tmp_path):
    path = write_log(some_log(5), tmp_path / "log.parquet", stated=False)

    read = read_log(path, Roles(heads=["ctr"], fields=["price"], outcomes=["click"]))

    assert read.document.columns() == ("ctr", "price", "click")
    with pytest.raises(LogError, match="--outcome"):
        read_log(path)
    with pytest.raises(LogError, match="'ctr' has two roles"):
        read_log(path, Roles(heads=["ctr"], outcomes=["ctr"]))


def test_a_column_that_the_log_calls_a_head_cannot_be_made_an_outcome(tmp_path):
    path = write_log(some_log(5), tmp_path / "log.parquet")

    with pytest.raises(LogError, match="'ctr' is no outcome"):
        read_log(path, Roles(outcomes=["ctr"]))


def test_rows_out_of_order_are_refused(tmp_path):
    log = some_log(5)
    times = log.times[log.list_of_row()].copy()
    times[-1] = times[0]

    with pytest.raises(LogError, match=f"row {log.num_rows - 1} is earlier"):
        read_log(write_log(log, tmp_path / "log.parquet", time=times))


def test_a_log_without_time_is_refused(tmp_path):
    log = some_log(5)

    with pytest.raises(LogError, match="no column 'time'"):
        read_log(write_log(log, tmp_path / "a.parquet", time=None))
    with pytest.raises(LogError, match="'time' is int64"):
        read_log(write_log(log, tmp_path / "b.parquet", time=np.arange(log.num_rows)))
    holes = log.times[log.list_of_row()].astype(object)
    holes[3] = None
    with pytest.raises(LogError, match="1 rows have no time"):
        read_log(write_log(log, tmp_path / "c.parquet", time=holes))


def test_rows_of_one_request_that_stand_apart_are_refused(tmp_path):
    log = some_log(5)
    requests = log.requests[log.list_of_row()].copy()
    requests[-1] = "r0"

    with pytest.raises(LogError, match="'r0' are apart"):
        read_log(write_log(log, tmp_path / "log.parquet", request_id=requests))


def test_impressions_that_the_ranker_was_trained_on_are_refused(tmp_path):
    source = LogSource(dataset="d", data_fingerprint="f", split="train", model="m", version=1)
    log = some_log(5)
    log = type(log)(**{**vars(log), "document": DOCUMENT.model_copy(update={"source": source})})

    with pytest.raises(LogError, match="trained on"):
        read_log(write_log(log, tmp_path / "log.parquet"))


@pytest.mark.parametrize("content", [b"", b"no parquet at all"])
def test_what_is_no_log_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "log.parquet").write_bytes(content)

    with pytest.raises(LogError, match="no Parquet file"):
        read_log(tmp_path / "log.parquet")
    with pytest.raises(LogError, match="holds no Parquet file"):
        read_log(tmp_path / "nowhere")


def test_text_in_a_column_of_numbers_is_refused(tmp_path):
    log = some_log(3)

    with pytest.raises((LogError, ContractError), match="'ctr' is string"):
        read_log(write_log(log, tmp_path / "log.parquet", ctr=np.array(["much"] * log.num_rows, dtype=object)))
