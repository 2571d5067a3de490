"""Logs with known truth, in memory and on disk."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.fusing.log import DOCUMENT_KEY, ImpressionLog, LogDocument

START = np.datetime64("2026-03-01T08:00:00", "us")
DOCUMENT = LogDocument(heads=("ctr", "duration_seconds"), fields=("price",), outcomes=("click", "duration"))


def some_columns(rows, *, seed=0):
    """Heads that are true, a field that means nothing, and outcomes drawn from the heads."""
    rng = np.random.default_rng(seed)
    ctr, seconds = rng.beta(1.5, 8.0, rows), rng.lognormal(3.0, 0.8, rows)
    click = rng.random(rows) < ctr
    return {
        "ctr": ctr,
        "duration_seconds": seconds,
        "price": rng.uniform(1, 9, rows),
        "click": click.astype(float),
        "duration": np.where(click, seconds * rng.lognormal(0.0, 0.3, rows), np.nan),
    }


def make_log(columns, lengths, *, document=DOCUMENT, first=0, seconds_apart=60):
    """Lay columns out as requests of *lengths*, one every *seconds_apart*, numbered from *first*."""
    numbers = first + np.arange(len(lengths))
    return ImpressionLog(
        document=document,
        requests=np.array([f"r{number}" for number in numbers], dtype=object),
        times=START + numbers * np.timedelta64(seconds_apart, "s"),
        offsets=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        columns={name: np.asarray(values, dtype=np.float64) for name, values in columns.items()},
        fingerprint="f" * 64,
    )


def some_log(requests=300, *, seed=0, first=0):
    """Requests of 3 to 12 candidates."""
    lengths = np.random.default_rng(seed).integers(3, 13, requests)
    return make_log(some_columns(int(lengths.sum()), seed=seed), lengths, first=first)


def write_log(log, path, *, stated=True, **changes):
    """Write a log as Parquet, with or without its document; *changes* replace columns, None leaves one out."""
    rows = log.list_of_row()
    columns = {"request_id": log.requests[rows], "time": log.times[rows], **log.columns, **changes}
    table = pa.table(
        {name: pa.array(values, from_pandas=True) for name, values in columns.items() if values is not None}
    )
    if stated:
        table = table.replace_schema_metadata({DOCUMENT_KEY: log.document.model_dump_json()})
    pq.write_table(table, path)
    return path
