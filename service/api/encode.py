"""A ranking to a body."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import orjson

from service.api.explanation import explained
from service.ports import Exposure
from service.ranking.query import RankResult

__all__ = ["encode_result", "exposure_documents"]


def encode_result(result: RankResult) -> bytes:
    """Give the JSON of a ranking; float32 heads come back exactly, a score that is not finite is null."""
    document = {
        "request_id": result.query.request_id,
        "model": {"name": result.manifest.name, "version": result.model_version},
        "fusion": {
            "profile": result.in_force.profile,
            "revision": result.in_force.revision,
            "variant": result.in_force.variant,
        },
        "results": _results(result),
        "timings_ms": {stage: round(s * 1000.0, 4) for stage, s in result.timings.stages.items()},
        "degraded": False,
        "unknown_items": int(np.count_nonzero(result.unknown_items)),
    }
    if result.exposures:
        document["experiments"] = exposure_documents(result.exposures)
    return orjson.dumps(document)


def exposure_documents(exposures: Sequence[Exposure]) -> list[dict[str, Any]]:
    """Give the arms of a request; whether one is a shadow and why one was not served only where it is so."""
    documents: list[dict[str, Any]] = []
    for each in exposures:
        documents.append(
            {"layer": each.layer, "experiment": each.experiment, "arm": each.arm, "propensity": each.propensity}
        )
        if each.shadow:
            documents[-1]["shadow"] = True
        if each.fallback:
            documents[-1]["fallback"] = each.fallback
    return documents


def _results(result: RankResult) -> list[dict[str, Any]]:
    item_ids = result.query.item_ids
    # orjson writes what is not finite as null.
    rows = [
        {"item_id": item_ids[position], "rank": rank, "score": score}
        for rank, (position, score) in enumerate(
            zip(result.order.tolist(), result.scores.tolist(), strict=True), start=1
        )
    ]
    if result.query.with_heads:
        for row, heads in zip(rows, _heads(result), strict=True):
            row["heads"] = heads
    if result.query.with_explanation:
        for row, explanation in zip_longest(rows, explained(result.explanation)):
            row["explain"] = explanation
    return rows


def _heads(result: RankResult) -> list[dict[str, float]]:
    names = list(result.heads)
    columns = [result.heads[name][result.order].tolist() for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
