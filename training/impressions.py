"""Held-out impressions, scored by an exported graph: what ``evaluate`` reports and ``replay`` compares with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.calibration import apply_calibration
from contract.encoding import numeric_column
from contract.features import SIDES, FeatureSchema
from contract.tasks import Head
from training.data.batches import batches
from training.data.columns import EncodedSplit, raw_columns
from training.data.format import Dataset
from training.export import graph_session
from training.report import Impressions

__all__ = ["raw_numbers", "score_impressions", "score_split"]

_REQUESTS = 256


def score_split(
    model_path: Path, heads: Iterable[Head], split: EncodedSplit, *, threads: int = 2
) -> dict[str, NDArray[np.float32]]:
    """Run the graph over a whole split; calibrated heads, float32 ``[N]``."""
    session, heads = graph_session(model_path, threads=threads), tuple(heads)
    outputs = [head.output for head in heads]
    parts = [session.run(outputs, batch.inputs.feeds()) for batch in batches(split, requests=_REQUESTS)]
    return {
        head.name: np.asarray(
            apply_calibration(head.calibration, np.concatenate([part[i] for part in parts])), np.float32
        )
        for i, head in enumerate(heads)
    }


def score_impressions(
    dataset: Dataset,
    name: str,
    split: EncodedSplit,
    schema: FeatureSchema,
    heads: dict[str, NDArray[np.float32]],
    reads: frozenset[str],
) -> Impressions:
    """Join predictions, labels and those raw numbers that formulas read."""
    lists = split.list_of_row()
    return Impressions(
        lists=lists,
        users=split.groups[lists],
        labels={label: np.asarray(column) for label, column in split.labels.items()},
        heads=heads,
        numbers=raw_numbers(dataset, name, schema, reads),
    )


def raw_numbers(dataset: Dataset, split: str, schema: FeatureSchema, names: frozenset[str]) -> dict[str, NDArray[Any]]:
    """Give raw values of number fields, one a candidate; a request's number is repeated for its candidates."""
    fields = [(side, field) for side in SIDES for field in schema.numbers_on(side) if field.name in names]
    parts: dict[str, list[NDArray[Any]]] = {field.name: [] for _, field in fields}
    for table in dataset.row_groups(split) if fields else ():
        lengths = np.diff(table["item_id"].combine_chunks().offsets.to_numpy())
        sides = {side: raw_columns(table, dataset, side) for side in SIDES}
        for side, field in fields:
            values = numeric_column(field, sides[side][field.name], len(sides[side][field.name]))
            parts[field.name].append(np.repeat(values, lengths) if side == "request" else values)
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}
