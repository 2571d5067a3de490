"""The same request in every shape that the wire takes, and the same answer in every shape that it gives."""

import gzip
import json

import numpy as np
import orjson
import pyarrow as pa
import pytest
import zstandard

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def body(example):
    return example | {"return": ["heads", "explain"], "top_k": 7}


def answer(client, content, **headers):
    response = client.post("/v1/rank", content=content, headers=headers)
    assert response.status_code == 200, response.text
    return response


@pytest.fixture
def rows(client, body):
    return answer(client, json.dumps(body)).json()["results"]


def as_arrow(body, *, dictionaries=False):
    """Pack a JSON body as an Arrow stream."""
    rest = {key: value for key, value in body.items() if key != "candidates"}
    table = pa.table(body["candidates"])
    if dictionaries:
        table = pa.table({name: c.dictionary_encode() if pa.types.is_string(c.type) else c
                          for name, c in zip(table.column_names, table.columns, strict=True)})  # fmt: skip
    table = table.replace_schema_metadata({"fulcrum": json.dumps(rest)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)])
def test_a_packed_body_is_ranked_like_a_plain_one(client, body, rows, encoding, pack):
    packed = pack(json.dumps(body).encode())

    assert answer(client, packed, **{"Content-Encoding": encoding}).json()["results"] == rows


def test_columns_say_what_rows_say(client, body, rows):
    columns = answer(client, json.dumps(body | {"layout": "columns"})).json()["results"]

    assert columns["item_id"] == [row["item_id"] for row in rows]
    assert columns["score"] == [row["score"] for row in rows]
    assert columns["explain"] == [row["explain"] for row in rows]
    for head, values in columns["heads"].items():
        assert values == [row["heads"][head] for row in rows]


def test_columns_carry_heads_only_for_who_asks(client, example):
    body = {key: value for key, value in example.items() if key != "return"}

    columns = answer(client, json.dumps(body | {"layout": "columns"})).json()["results"]

    assert set(columns) == {"item_id", "score"}


@pytest.mark.parametrize("layout", ["table", "", 1, ["columns"]])
def test_a_layout_that_does_not_exist_is_refused(client, example, layout):
    response = client.post("/v1/rank", json=example | {"layout": layout})

    assert (response.status_code, response.json()["path"]) == (422, "/layout")


@pytest.mark.parametrize("dictionaries", [False, True])
def test_an_arrow_stream_is_ranked_like_json(client, body, rows, dictionaries):
    stream = as_arrow(body, dictionaries=dictionaries)

    assert answer(client, stream, **{"Content-Type": ARROW}).json()["results"] == rows


def test_an_arrow_stream_comes_back_for_who_accepts_one(client, body, rows):
    response = answer(client, as_arrow(body), **{"Content-Type": ARROW, "Accept": ARROW})

    table = pa.ipc.open_stream(response.content).read_all()
    rest = orjson.loads(table.schema.metadata[b"fulcrum"])
    assert response.headers["content-type"] == ARROW
    assert table["item_id"].to_pylist() == [row["item_id"] for row in rows]
    assert table["score"].to_pylist() == [row["score"] for row in rows]
    assert table["heads.ctr"].to_numpy().tolist() == [np.float32(row["heads"]["ctr"]) for row in rows]
    assert rest["fusion"] == {"profile": "default", "revision": 1, "variant": "base"}


def test_a_score_that_is_not_finite_is_null_in_arrow_as_in_json(client, write, example):
    write({"formula": "log(ctr - 2)"})

    response = answer(client, json.dumps(example), Accept=ARROW)

    assert set(pa.ipc.open_stream(response.content).read_all()["score"].to_pylist()) == {None}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "malformed_body"),
        (b"{}", "malformed_body"),
        (as_arrow({"candidates": {"item_id": ["i1"]}})[:-20], "malformed_body"),
        (as_arrow({"candidates": {"price": [1.0]}}), "invalid_field"),
        (as_arrow({"candidates": {"item_id": ["i1"], "nothing": [1.0]}}), "invalid_feature"),
        (as_arrow({"candidates": {"item_id": ["i1"]}, "topk": 1}), "invalid_field"),
        (as_arrow({"candidates": {"item_id": []}}), "empty_candidates"),
    ],
)
def test_a_bad_arrow_stream_is_refused_as_bad_json_is(client, content, code):
    response = client.post("/v1/rank", content=content, headers={"Content-Type": ARROW})

    assert response.status_code in (400, 422)
    assert response.json()["code"] == code
