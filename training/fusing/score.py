"""Scores a split of a prepared dataset with a published bundle, as the offline report does, and writes it as a log."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.features import SIDES
from contract.tasks import Head
from training.data.columns import EncodedSplit, encode_split
from training.data.format import Dataset
from training.errors import InvalidOption, LogError
from training.fusing.log import DOCUMENT_KEY, RESERVED, LogDocument, LogSource
from training.impressions import raw_numbers, score_split

__all__ = ["outcome_names", "write_log"]

_COMMON = {"ctr": "click", "cvr": "conversion"}


def write_log(
    bundle: Bundle, dataset: Dataset, split: str, out: Path, *, renamed: Mapping[str, str] | None = None
) -> LogDocument:
    """Write one row an impression: every head, every number field, every label as an outcome.

    Args:
        split: Not ``train``: the ranker knows its outcomes.
        renamed: Outcome column to the label that it holds.

    Raises:
        LogError: When the split is ``train``.
        DataError: When the dataset has no such split, or does not fit the bundle.
    """
    if split == "train":
        raise LogError("the ranker was trained on the train split", fix="score validation or test")
    manifest = bundle.manifest
    schema = manifest.features
    numbers = [field.name for side in SIDES for field in schema.numbers_on(side)]
    fields = tuple(name for name in numbers if name not in {head.name for head in manifest.heads})
    outcomes = outcome_names([label.name for label in dataset.info.labels], manifest.heads, fields, renamed or {})
    document = LogDocument(
        heads=tuple(head.name for head in manifest.heads),
        fields=fields,
        outcomes=tuple(outcomes),
        source=LogSource(
            dataset=dataset.info.name,
            data_fingerprint=dataset.fingerprint,
            split=split,
            model=manifest.name,
            version=bundle.version,
        ),
    )
    with tempfile.TemporaryDirectory(prefix="fulcrum-columns-") as scratch:
        encoded = encode_split(dataset, split, schema, Path(scratch))
        columns: dict[str, NDArray[Any]] = dict(score_split(bundle.model_path, manifest.heads, encoded))
        columns |= raw_numbers(dataset, split, schema, frozenset(fields))
        columns |= {name: np.array(encoded.labels[label]) for name, label in outcomes.items()}
        table = _table(dataset, split, encoded, columns, document)
    _write(table, out)
    return document


def outcome_names(
    labels: Iterable[str], heads: Iterable[Head], fields: Iterable[str], renamed: Mapping[str, str]
) -> dict[str, str]:
    """Name a column for each label: as the caller says, ``click`` of ``ctr``, or the label's own name.

    A name that a head or a field has already gets ``observed_`` before it: a prediction and what came of it are two
    columns.

    Raises:
        InvalidOption: When the caller renames what is no label.
    """
    labels = tuple(labels)
    for column, label in renamed.items():
        if label not in labels:
            raise InvalidOption(f"there is no label {label!r} to name {column!r}", fix=f"labels: {', '.join(labels)}")
    chosen = {label: column for column, label in renamed.items()}
    taken = {head.name for head in heads} | set(fields) | set(RESERVED) | set(renamed)
    names: dict[str, str] = {}
    for label in labels:
        plain = _COMMON.get(label, label)
        name = chosen.get(label) or (plain if plain not in taken else f"observed_{label}")
        names[name] = label
        taken.add(name)
    return names


def _table(
    dataset: Dataset, split: str, encoded: EncodedSplit, columns: Mapping[str, NDArray[Any]], document: LogDocument
) -> pa.Table:
    ids, times, items = [], [], []
    for group in dataset.row_groups(split):
        ids.append(group["request_id"].combine_chunks())
        times.append(group["time"].combine_chunks())
        items.append(group["item_id"].combine_chunks().flatten())
    rows = pa.array(encoded.list_of_row())
    plain = {
        "request_id": pa.concat_arrays(ids).take(rows),
        "time": pa.concat_arrays(times).take(rows),
        "item_id": pa.concat_arrays(items),
    }
    numbers = {name: pa.array(columns[name], from_pandas=True) for name in document.columns()}
    return pa.table(plain | numbers).replace_schema_metadata({DOCUMENT_KEY: document.model_dump_json()})


def _write(table: pa.Table, out: Path) -> None:
    """Write beside the place and rename, so that a broken run leaves an older log."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.draft")
    pq.write_table(table, draft, compression="zstd")
    draft.rename(out)
