"""The same questions in the words of both sides: a user's row, items of the imported table, and their features.

A peer has no item table, so its callers send features always; ours are asked with the same features or by id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

__all__ = ["Ask", "PeerBody", "ask_of_peer", "ask_of_us", "draw_asks"]

PeerBody = Literal["plain", "v2"]
_REQUEST_ROWS, _REQUEST_FIELDS = 24_000, 24


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request.

    Args:
        user: The request's 24 rows of the embedding table.
        item_ids: Candidates, N.
        items: Their rows, N × 16.
    """

    user: tuple[int, ...]
    item_ids: tuple[int, ...]
    items: NDArray[np.int64]


def draw_asks(table: Path, sizes: Sequence[int], seed: int = 0) -> list[Ask]:
    """Draw a request for each size, without a candidate twice.

    Args:
        table: ``items.parquet`` of the imported bundle: ``item_id`` and the candidate fields.
    """
    read = pq.read_table(table)
    columns = [name for name in read.column_names if name != "item_id"]
    ids = read["item_id"].to_numpy()
    rows = np.stack([read[name].to_numpy() for name in columns], axis=1)
    rng = np.random.default_rng(seed)
    return [_draw(rng, ids, rows, size) for size in sizes]


def _draw(rng: np.random.Generator, ids: NDArray[np.int64], rows: NDArray[np.int64], size: int) -> Ask:
    chosen = rng.choice(len(ids), size, replace=False)
    user = rng.integers(_REQUEST_ROWS, size=_REQUEST_FIELDS)
    return Ask(user=tuple(user.tolist()), item_ids=tuple(ids[chosen].tolist()), items=rows[chosen])


def ask_of_us(ask: Ask, *, model: str, by_id: bool) -> bytes:
    """Give the body for ``/v1/rank``: columns both ways, with heads, as the peers give them."""
    candidates: dict[str, Any] = {"item_id": list(ask.item_ids)}
    if not by_id:
        candidates |= {f"c{j:02d}": column for j, column in enumerate(ask.items.T.tolist())}
    document = {
        "model": model,
        "request": {f"u{j:02d}": value for j, value in enumerate(ask.user)},
        "candidates": candidates,
        "layout": "columns",
        "return": ["heads"],
    }
    return orjson.dumps(document)


def ask_of_peer(ask: Ask, body: PeerBody) -> bytes:
    """Give the body that a peer reads: its own JSON, or the Open Inference Protocol's."""
    user, items = list(ask.user), ask.items
    if body == "plain":
        return orjson.dumps({"user": user, "items": items.tolist()})
    inputs = [
        {"name": "user", "shape": [len(user)], "datatype": "INT64", "data": user},
        {"name": "items", "shape": list(items.shape), "datatype": "INT64", "data": items.ravel().tolist()},
    ]
    return orjson.dumps({"inputs": inputs})
