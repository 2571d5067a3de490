"""The service's promises over its real app, ONNX Runtime and SQLite included."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from service.app import create_app
from tests.conftest import TOKEN


def _rank(client, body, status=200):
    response = client.post("/v1/rank", content=body if isinstance(body, bytes) else json.dumps(body))
    assert response.status_code == status, response.text
    return response.json()


def test_the_example_of_a_model_ranks_as_it_is(client, example):
    answer = _rank(client, example)

    assert [result["rank"] for result in answer["results"]] == [1, 2, 3, 4, 5]
    assert set(answer["results"][0]["heads"]) == {"ctr", "like", "duration_seconds", "log_duration"}


def test_scores_are_the_formula_of_the_heads_and_fall_with_rank(client, example):
    results = _rank(client, example | {"top_k": None})["results"]

    scores = [result["score"] for result in results]
    heads = [result["heads"] for result in results]
    assert scores == pytest.approx([h["ctr"] * np.log1p(h["duration_seconds"]) for h in heads], rel=1e-9)
    assert scores == sorted(scores, reverse=True)


def test_rows_and_columns_of_candidates_give_the_same_ranking(client, example):
    columns = example["candidates"]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    assert _rank(client, example | {"candidates": rows})["results"] == _rank(client, example)["results"]


def test_features_by_item_id_equal_the_same_features_sent_inline(client, example):
    by_id = {"item_id": example["candidates"]["item_id"], "popularity": example["candidates"]["popularity"]}

    assert _rank(client, example | {"candidates": by_id})["results"] == _rank(client, example)["results"]


def test_an_item_that_nobody_knows_is_ranked_and_counted(client, example):
    answer = _rank(client, example | {"candidates": {"item_id": ["i1", "never-heard-of"]}})

    assert answer["unknown_items"] == 1
    assert len(answer["results"]) == 2


def test_inline_values_win_over_the_item_table(client, example):
    ids = example["candidates"]["item_id"][:3]
    plain = _rank(client, example | {"candidates": {"item_id": ids}})["results"]
    dear = _rank(client, example | {"candidates": {"item_id": ids, "price": [9_999.0] * 3}})["results"]

    assert {r["item_id"]: r["heads"]["ctr"] for r in plain} != {r["item_id"]: r["heads"]["ctr"] for r in dear}


def _with(**changes):
    return lambda example: example | changes


BAD_REQUESTS = {
    "not JSON": (lambda e: b"{", 400, "malformed_body"),
    "a list": (lambda e: b"[]", 400, "malformed_body"),
    "NaN": (lambda e: json.dumps(e | {"top_k": float("nan")}).encode(), 400, "malformed_body"),
    "an infinity": (lambda e: b'{"candidates":{"item_id":["a"],"price":[Infinity]}}', 400, "malformed_body"),
    "a number beyond floats": (lambda e: b'{"candidates":{"item_id":["a"],"price":[1e999]}}', None, None),
    "an unknown key": (_with(topk=3), 422, "invalid_field"),
    "an unknown candidate field": (_with(candidates={"item_id": ["a"], "prize": [1]}), 422, "invalid_feature"),
    "an unknown request field": (_with(request={"user_name": "x"}), 422, "invalid_feature"),
    "a string for a number": (_with(candidates={"item_id": ["a"], "price": ["1"]}), 422, "invalid_feature"),
    "a boolean for a number": (_with(candidates={"item_id": ["a"], "price": [True]}), 422, "invalid_feature"),
    "a fraction for an id": (_with(request={"hour": 1.5}), 422, "invalid_feature"),
    "a short column": (_with(candidates={"item_id": ["a", "b"], "price": [1]}), 422, "invalid_field"),
    "no candidates": (_with(candidates={"item_id": []}), 422, "empty_candidates"),
    "no rows": (_with(candidates=[]), 422, "empty_candidates"),
    "100,000 candidates": (_with(candidates={"item_id": ["a"] * 100_000}), 422, "too_many_candidates"),
    "an unknown model": (_with(model="deom"), 404, "unknown_model"),
    "an unknown profile": (_with(profile="none"), 404, "unknown_profile"),
    "a weight that the profile lacks": (_with(weights={"w": 1.0}), 422, "invalid_field"),
    "a top_k of zero": (_with(top_k=0), 422, "invalid_field"),
    "a negative deadline": (_with(deadline_ms=-1), 422, "invalid_field"),
    "an unknown return": (_with(**{"return": ["head"]}), 422, "invalid_field"),
    "a body of 50 MB": (lambda e: b" " * 50_000_000, 413, "body_too_large"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests_get_their_own_clear_answer_and_never_a_500(client, example, name):
    make, status, code = BAD_REQUESTS[name]
    body = make(example)

    response = client.post("/v1/rank", content=body if isinstance(body, bytes) else json.dumps(body))

    assert 400 <= response.status_code < 500
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["detail"]
    assert problem["fix"]
    if status:
        assert (response.status_code, problem["code"]) == (status, code)


def test_the_path_leads_to_the_bad_value(client, example):
    example["candidates"]["price"][3] = "dear"

    assert _rank(client, example, 422)["path"] == "/candidates/price/3"
    assert _rank(client, example | {"request": {"hour": "8"}}, 422)["path"] == "/request/hour"


BAD_FORMULAS = {
    "syntax": "ctr *",
    "an unknown name": "cter * 2",
    "an attribute": "ctr.__class__",
    "a call outside the whitelist": "__import__('os').system('true')",
    "a string": "'ctr'",
    "a subscript": "ctr[0]",
    "a lambda": "(lambda: 1)()",
    "10,000 nested brackets": "(" * 10_000 + "ctr" + ")" * 10_000,
    "deep nesting within the length": "-" * 900 + "ctr",
    "a missing argument": "clip(ctr)",
    "a keyword": "log(x=ctr)",
    "an operator outside the whitelist": "ctr // 2",
    "a walrus": "(x := ctr)",
    "empty": "",
}


@pytest.mark.parametrize("name", BAD_FORMULAS)
def test_bad_formulas_are_refused_and_the_old_one_keeps_serving(client, write, example, name):
    before = _rank(client, example)

    response = write({"formula": BAD_FORMULAS[name]})

    assert response.status_code == 422
    assert response.json()["detail"]
    after = _rank(client, example)
    assert (after["fusion"], after["results"]) == (before["fusion"], before["results"])


def test_an_unknown_name_in_a_formula_is_pointed_at_with_what_was_probably_meant(write):
    problem = write({"formula": "1 + cttr"}).json()

    assert "character 5" in problem["detail"]
    assert "'ctr'" in problem["fix"]


@pytest.mark.parametrize(
    "body",
    [
        {"formula": "ctr", "weights": {"w": 1.0}},
        {"formula": "ctr * w", "weights": {"w": "1"}},
        {"formula": "ctr * like", "weights": {"like": 2.0}},
        {"formula": "ctr", "non_finite": "ignore"},
        {"formula": "ctr", "wieghts": {}},
        {"weights": {}},
    ],
)
def test_bad_profiles_are_refused(write, body):
    assert write(body).status_code == 422


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic abc", "Bearer", "Bearer päss"])
def test_a_wrong_token_changes_nothing(client, header):
    headers = {"Authorization": header.encode()} if header else {}

    response = client.put("/v1/admin/fusion/default", json={"formula": "ctr"}, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_admin_api_is_closed_without_a_configured_token(settings):
    with TestClient(create_app(settings.model_copy(update={"admin_token": None}))) as client:
        response = client.put("/v1/admin/fusion/default", json={"formula": "ctr"}, headers={"Authorization": "Bearer "})

    assert (response.status_code, response.json()["code"]) == (403, "admin_closed")


def test_a_new_formula_ranks_the_next_request_and_survives_a_restart(client, write, example, settings):
    written = write({"formula": "w * like", "weights": {"w": 2.0}}).json()
    answer = _rank(client, example)

    assert answer["fusion"] == {"profile": "default", "revision": written["revision"], "variant": "base"}
    assert all(r["score"] == pytest.approx(2 * r["heads"]["like"]) for r in answer["results"])
    with TestClient(create_app(settings)) as restarted:
        assert _rank(restarted, example)["fusion"]["revision"] == written["revision"]


def test_a_request_may_change_a_weight_for_itself_alone(client, write, example):
    write({"formula": "w * like", "weights": {"w": 2.0}})

    own = _rank(client, example | {"weights": {"w": 0.0}})["results"]

    assert {result["score"] for result in own} == {0.0}
    assert _rank(client, example)["results"][0]["score"] > 0


def test_scores_that_are_not_finite_go_to_the_bottom_or_fail_as_the_profile_says(client, write, example):
    formula = "where(popularity > 100, ctr, log(ctr - 2))"
    body = example | {"candidates": {"item_id": ["i1", "i2"], "popularity": [50.0, 200.0]}}

    write({"formula": formula}, profile="bottom")
    write({"formula": formula, "non_finite": "fail"}, profile="fail")

    results = _rank(client, body | {"profile": "bottom"})["results"]
    assert [(r["item_id"], r["score"] is None) for r in results] == [("i2", False), ("i1", True)]
    assert _rank(client, body | {"profile": "fail"}, 422)["code"] == "score_not_finite"


def test_metrics_have_no_fault_that_promtool_finds(client, example):
    _rank(client, example)
    text = client.get("/metrics").text

    for name in ("stage_duration_seconds", "head_value", "score", "candidates", "model_info", "fusion_info"):
        assert f"\nfulcrum_{name}" in text
    for stage in ("decode", "encode_features", "queue", "infer", "fuse", "encode"):
        assert f'stage="{stage}"' in text
    assert shutil.which("promtool"), "install Debian's prometheus package: it carries promtool"
    lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


def test_names_that_clients_invent_never_become_labels(client, example):
    _rank(client, example | {"model": "invented-model"}, 404)
    _rank(client, example | {"profile": "invented-profile"}, 404)
    client.get("/invented/path")

    assert "invented" not in client.get("/metrics").text


def test_probes_say_what_is_served(client):
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").json()["models"] == {"demo": 1}
    assert client.get("/version").json()["version"]
    assert client.get("/v1/models").json()["models"][0]["name"] == "demo"


def test_without_a_model_the_service_lives_but_is_not_ready(settings, tmp_path):
    with TestClient(create_app(settings.model_copy(update={"models_dir": tmp_path}))) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.post("/v1/rank", json={"candidates": {"item_id": ["a"]}}).json()["code"] == "not_ready"


def test_real_bodies_and_answers_satisfy_the_published_openapi(client, example):
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/rank"]["post"]
    body_schema = operation["requestBody"]["content"]["application/json"]["schema"]
    answer_schema = operation["responses"]["200"]["content"]["application/json"]["schema"]

    def validate(schema, value):
        Draft202012Validator({**schema, "components": document["components"]}).validate(value)

    validate(body_schema, example)
    validate(answer_schema, _rank(client, example))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "request": json_values | st.fixed_dictionaries({}, optional={"hour": json_values, "history": json_values}),
        "candidates": json_values | st.fixed_dictionaries({"item_id": json_values}, optional={"price": json_values}),
        "weights": json_values,
        "top_k": json_values,
        "profile": json_values,
        "return": json_values,
        "deadline_ms": json_values,
    },
)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(body=envelopes)
def test_no_json_document_whatsoever_gives_a_500(client, body):
    assert client.post("/v1/rank", json=body).status_code < 500


def test_the_token_is_never_shown(client):
    assert TOKEN not in client.get("/readyz").text + client.get("/metrics").text + client.get("/version").text
