"""Arrow IPC streams in and out, for callers who want no JSON at all.

In: one stream whose columns are the candidates (``item_id`` and features) and whose schema carries the rest of the
request as JSON under the key ``fulcrum``. Out: one stream whose columns are ``item_id``, ``score`` and
``heads.<name>``, best first, and the rest of the answer under the same key. https://arrow.apache.org/docs/format/Columnar.html
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from service.api.decode import parse_object
from service.api.encode import envelope
from service.errors import MalformedBody
from service.ranking.query import RankResult

__all__ = ["ARROW_TYPE", "encode_arrow", "parse_arrow"]

ARROW_TYPE = "application/vnd.apache.arrow.stream"
_KEY = b"fulcrum"


def parse_arrow(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a request's document, and its candidates' columns: arrays of numbers, lists of anything else.

    Raises:
        MalformedBody: When it is no whole stream, or its metadata is no JSON object.
    """
    try:
        table = pa.ipc.open_stream(body).read_all()
        columns = {name: _column(table[name]) for name in table.column_names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MalformedBody(
            f"the body is no whole Arrow stream: {str(error)[:200]}", fix="send one IPC stream with an item_id column"
        ) from None
    return parse_object(_metadata(table.schema).get(_KEY, b"{}")), columns


def encode_arrow(result: RankResult) -> bytes:
    """Give the stream of a ranking; a score that is not finite is null."""
    order = result.order
    columns: dict[str, Any] = {
        "item_id": [result.query.item_ids[position] for position in order.tolist()],
        "score": pa.array(result.scores, mask=~np.isfinite(result.scores)),
    }
    if result.query.with_heads:
        columns |= {f"heads.{name}": values[order] for name, values in result.heads.items()}
    table = pa.table(columns).replace_schema_metadata({_KEY: orjson.dumps(envelope(result))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _metadata(schema: pa.Schema) -> Mapping[bytes, bytes]:
    return schema.metadata or {}


def _column(column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_floating(kind) or (pa.types.is_integer(kind) and not column.null_count):
        return column.to_numpy()
    return column.to_pylist()
