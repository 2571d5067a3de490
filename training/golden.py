"""Golden rows: a few held-out requests as a client would send them, with the answers of the exported graph."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contract.arrays import GraphInputs
from contract.bundle import Golden
from contract.calibration import apply_calibration
from contract.encoding import Encoder
from contract.tasks import Head
from training.data.format import Dataset
from training.export import graph_session

__all__ = ["encode_query", "golden_rows", "plain_queries"]

_QUERIES = 4


def golden_rows(dataset: Dataset, encoder: Encoder, model_path: Path, heads: tuple[Head, ...]) -> Golden:
    """Take the first lists of the test split and score them with the graph."""
    table = next(iter(dataset.row_groups("test"))).slice(0, _QUERIES)
    queries = plain_queries(dataset, table)
    inputs = GraphInputs.merge([encode_query(encoder, query) for query in queries]).feeds()
    answers = graph_session(model_path).run([head.output for head in heads], inputs)
    return Golden(
        queries=queries,
        inputs=inputs,
        heads={
            head.name: np.asarray(apply_calibration(head.calibration, answer), np.float32)
            for head, answer in zip(heads, answers, strict=True)
        },
    )


def plain_queries(dataset: Dataset, table: pa.Table) -> list[dict[str, Any]]:
    """Turn prepared requests into the plain values that a client sends as JSON."""
    requests = [field.name for field in dataset.info.fields if field.side == "request"]
    candidates = [field.name for field in dataset.info.fields if field.side == "candidate"]
    return [
        {
            "request": {name: _plain(row[name]) for name in requests},
            "candidates": {name: [_plain(v) for v in row[name]] for name in ("item_id", *candidates)},
        }
        for row in table.to_pylist()
    ]


def encode_query(encoder: Encoder, query: dict[str, Any]) -> GraphInputs:
    """Encode one plain query as the service does."""
    columns = {name: column for name, column in query["candidates"].items() if name != "item_id"}
    return GraphInputs.single(
        encoder.encode_request(query["request"]),
        encoder.encode("candidate", columns, len(query["candidates"]["item_id"]), path="/candidates"),
    )


def _plain(value: Any) -> Any:
    """NaN has no place in JSON: it means "not known", as null does."""
    return None if isinstance(value, float) and math.isnan(value) else value
