"""Previews over the real app: what operators are told is what requests would get."""

import asyncio
import json
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scipy.stats import kendalltau
from starlette.testclient import TestClient

from service.app import build_components, create_app
from service.runtime.aside import Aside
from tests.conftest import TOKEN
from tests.fakes import PATIENCE_S
from tests.kept import run_here

PREVIEW = "/v1/admin/fusion/default/preview"


class Here:
    """Runs the work in this process."""

    async def __call__(self, work, parts, *, budget_s):
        return await run_here(work, parts, budget_s=budget_s)

    async def aclose(self):
        pass


class Service:
    """The app with its parts in reach."""

    def __init__(self, settings, *, aside=None):
        self.parts = replace(build_components(settings), aside=aside or Here())
        self.client = TestClient(create_app(settings, self.parts), raise_server_exceptions=False)
        self.client.headers["Authorization"] = f"Bearer {TOKEN}"

    def rank(self, body, **changes):
        response = self.client.post("/v1/rank", json=body | changes)
        self.parts.reservoir.settle()
        return response

    def write(self, **profile):
        """Write the default profile as an operator does: look at it, then change what was seen."""
        path = "/v1/admin/fusion/default"
        headers = {"If-Match": self.client.get(path).headers["etag"]}
        assert self.client.put(path, json=profile, headers=headers).status_code == 200

    def preview(self, status=200, **body):
        response = self.client.post(PREVIEW, json=body)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture
def service(settings):
    made = Service(settings)
    with made.client:
        yield made


@pytest.fixture
def body(service):
    example = service.client.get("/v1/models/demo/example").json()
    return example | {"top_k": None, "return": ["heads"]}


def requests(body, count):
    """Requests of many users, each with its own part of the example's candidates."""
    random = np.random.default_rng(0)
    for number in range(count):
        some = sorted(random.choice(len(body["candidates"]["item_id"]), 12, replace=False).tolist())
        columns = {name: [values[row] for row in some] for name, values in body["candidates"].items()}
        device = ["phone", "tablet", "desktop"][number % 3]
        yield body | {"candidates": columns, "request": body["request"] | {"user": f"u{number}", "device": device}}


def test_a_preview_says_what_the_change_then_does(service, body):
    """Every number is worked out again from the answers before and after the change."""
    sent = list(requests(body, 12))
    before = [service.rank(each).json()["results"] for each in sent]
    change = {"formula": "rank(ctr) + w * log1p(duration_seconds) - 0.01 * price", "weights": {"w": 0.3}}

    told = service.preview(**change, top_k=4, segment_by="device")
    service.write(**change)
    after = [service.rank(each).json()["results"] for each in sent]

    pairs = list(zip(before, after, strict=True))
    tops = [([r["item_id"] for r in old[:4]], [r["item_id"] for r in new[:4]]) for old, new in pairs]
    overlap = np.mean([len(set(old) & set(new)) / 4 for old, new in tops])
    assert told["change"]["top_k_overlap"] == pytest.approx(overlap)
    assert told["change"]["first_changed"] == pytest.approx(np.mean([old[0] != new[0] for old, new in tops]))
    assert told["change"]["kendall_tau"] == pytest.approx(np.mean([_tau(*both) for both in pairs]))
    for head, means in told["change"]["heads"].items():
        assert means["before"] == pytest.approx(_mean(before, head))
        assert means["after"] == pytest.approx(_mean(after, head))
        assert means["percent_low"] <= means["percent"] <= means["percent_high"]
    for side, results in (("before", before), ("after", after)):
        scores = [result["score"] for each in results for result in each]
        bounds = told["change"]["scores"][side]["range"]
        assert (bounds["min"], bounds["max"]) == pytest.approx((min(scores), max(scores)))
    moved = sum(len(set(new) - set(old)) for old, new in tops)
    assert sum(each["requests"] for each in told["entering"]) == moved <= 20
    assert told["traffic"]["requests"] == 12
    assert told["traffic"]["candidates"] == 144


def _mean(results, head):
    return np.mean([np.mean([result["heads"][head] for result in each[:4]]) for each in results])


def _tau(before, after):
    scores = {result["item_id"]: result["score"] for result in after}
    return kendalltau([r["score"] for r in before], [scores[r["item_id"]] for r in before]).statistic


def test_segments_hold_their_own_requests_and_say_when_they_are_few(service, body):
    for each in requests(body, 12):
        service.rank(each)

    told = service.preview(formula="like", segment_by="device")

    assert sorted((each["value"], each["requests"]) for each in told["segments"]) == [
        ("desktop", 4),
        ("phone", 4),
        ("tablet", 4),
    ]
    assert all(each["few_requests"] for each in told["segments"])


def test_weights_alone_are_compared_with_those_in_force(service, body):
    profile = {"formula": "a * ctr + b * like", "weights": {"a": 1.0, "b": 0.0}}
    service.write(**profile)
    for each in requests(body, 3):
        service.rank(each)

    told = service.preview(weights={"b": 5.0})

    assert told["current"]["weights"] == {"a": 1.0, "b": 0.0}
    assert told["proposed"]["weights"] == {"a": 1.0, "b": 5.0}
    assert told["change"]["heads"]["like"]["change"] >= 0


def test_kept_requests_are_compared_under_the_formula_of_now_not_that_of_then(service, body):
    for each in requests(body, 3):
        service.rank(each)
    change = {"formula": "like", "weights": {}}
    service.write(**change)

    told = service.preview(**change)

    assert told["revision"] == 2
    assert (told["change"]["top_k_overlap"], told["change"]["first_changed"]) == (1.0, 0.0)


def test_a_preview_changes_nothing(service, body):
    service.rank(body)
    before = service.client.get("/v1/admin/fusion/default").json()

    service.preview(formula="like")

    assert service.client.get("/v1/admin/fusion/default").json() == before


def test_requests_that_the_fusion_in_force_refuses_are_traffic_too(service, body):
    strict = {"formula": "log(0 - ctr)", "non_finite": "fail"}
    service.write(**strict)
    assert service.rank(body).status_code == 422

    told = service.preview(formula="ctr")

    assert told["traffic"]["requests"] == 1
    assert told["change"]["scores"]["before"]["non_finite_requests"] == 1
    assert told["change"]["scores"]["before"]["range"] is None
    assert told["change"]["scores"]["after"]["non_finite"] == 0


def test_without_traffic_the_answer_says_so(service):
    told = service.preview(formula="like")

    assert told["traffic"]["requests"] == 0
    assert told["change"] is None
    assert "No traffic" in told["note"]


def test_a_service_that_keeps_nothing_says_how_to_switch_it_on(settings, body):
    off = Service(settings.model_copy(update={"preview_requests": 0}))
    with off.client:
        off.rank(body)

        assert "FULCRUM_PREVIEW_REQUESTS" in off.preview(formula="like")["note"]


def test_no_id_appears_in_the_answer(service, body):
    ids = body["candidates"]["item_id"]
    for each in requests(body, 6):
        service.rank(each)

    text = json.dumps(service.preview(formula="0 - ctr", top_k=3, segment_by="user"))

    assert json.loads(text)["entering"]
    for secret in (*ids, *(f"u{number}" for number in range(6))):
        assert not re.search(rf"\b{secret}\b", text), secret


def test_the_answer_is_the_document_that_openapi_describes(service, body):
    for each in requests(body, 3):
        service.rank(each)
    openapi = service.client.get("/openapi.json").json()
    content = openapi["paths"]["/v1/admin/fusion/{profile}/preview"]["post"]["responses"]["200"]["content"]
    validator = Draft202012Validator({**content["application/json"]["schema"], "components": openapi["components"]})

    for told in (service.preview(formula="ctr + duration_seconds", segment_by="hour"), service.preview(formula="like")):
        validator.validate(told)


REFUSED = {
    "a misspelt name": ({"formula": "ctrr"}, "invalid_formula", "/formula"),
    "broken syntax": ({"formula": "ctr *"}, "invalid_formula", "/formula"),
    "a weight that nobody reads": ({"formula": "ctr", "weights": {"w": 1.0}}, "invalid_formula", "/weights/w"),
    "a weight that the profile lacks": ({"weights": {"w": 1.0}}, "invalid_formula", "/weights/w"),
    "a weight that is no number": ({"weights": {"w": "x"}}, "invalid_profile", "/weights/w"),
    "an unknown key": ({"formula": "ctr", "topk": 3}, "invalid_field", "/topk"),
    "nothing": ({}, "invalid_profile", ""),
    "a top k of zero": ({"formula": "ctr", "top_k": 0}, "invalid_profile", "/top_k"),
    "a segment that tells nothing apart": ({"formula": "ctr", "segment_by": "price"}, "invalid_field", "/segment_by"),
    "a learned profile that is not served": ({"kind": "model", "model": "m", "version": 1}, "invalid_formula", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_a_proposal_is_named_with_its_place(service, name):
    given, code, path = REFUSED[name]

    problem = service.preview(422, **given)

    assert (problem["code"], problem["path"]) == (code, path)
    assert problem["fix"]


def test_a_body_that_is_no_object_is_malformed_and_an_unknown_profile_is_not_found(service):
    assert service.client.post(PREVIEW, content=b"[]").status_code == 400
    assert service.client.post(PREVIEW.replace("default", "none"), json={"formula": "ctr"}).status_code == 404


def test_only_who_holds_a_token_may_preview(service):
    del service.client.headers["Authorization"]

    assert service.preview(401, formula="ctr")["code"] == "unauthorized"


def test_one_preview_at_a_time_and_the_second_learns_when_to_come_back(settings, body):
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Here):
        async def __call__(self, work, parts, *, budget_s):
            begun.set()
            assert await asyncio.to_thread(go_on.wait, PATIENCE_S)
            return await super().__call__(work, parts, budget_s=budget_s)

    service = Service(settings, aside=Slow())
    with service.client:
        service.rank(body)
        first = threading.Thread(target=service.preview, kwargs={"formula": "like"})
        first.start()
        assert begun.wait(PATIENCE_S)
        second = service.client.post(PREVIEW, json={"formula": "like"})
        go_on.set()
        first.join(PATIENCE_S)

        assert (second.status_code, second.json()["code"]) == (429, "preview_busy")
        assert second.headers["Retry-After"] == "1"
        assert service.preview(formula="like")["traffic"]["requests"] == 1


def test_metrics_tell_how_many_requests_are_kept_and_how_long_previews_take(service, body):
    service.rank(body)
    service.preview(formula="like")

    text = service.client.get("/metrics").text

    assert "\nfulcrum_preview_requests 1.0\n" in text
    assert "\nfulcrum_preview_seconds_count 1.0\n" in text


def test_an_arm_of_an_experiment_is_traffic_of_its_own_profile(service, body):
    assert service.client.put("/v1/admin/fusion/like", json={"formula": "like"}).status_code == 200
    layer = {
        "unit": "user",
        "experiments": [{"name": "e", "share": 1.0, "arms": [{"name": "like", "share": 1.0, "profile": "like"}]}],
    }
    assert service.client.put("/v1/admin/experiments/e", json=layer).status_code == 200
    service.rank(body)

    told = service.client.post("/v1/admin/fusion/like/preview", json={"formula": "ctr"}).json()

    assert told["traffic"]["requests"] == 1
    assert service.preview(formula="ctr")["traffic"]["requests"] == 0


def test_a_process_of_its_own_gives_the_same_answer(settings, service, body):
    aside = Service(settings.model_copy(update={"fusion_store": ":memory:"}), aside=Aside())
    with aside.client:
        for each in requests(body, 5):
            service.rank(each)
            aside.rank(each)
        proposed = {"formula": "rank(like) + ctr", "segment_by": "device"}

        here, there = service.preview(**proposed), aside.preview(**proposed)

    assert there["traffic"]["requests"] == 5
    assert there["change"]["heads"]["like"] == pytest.approx(here["change"]["heads"]["like"])
    assert there["change"]["kendall_tau"] == pytest.approx(here["change"]["kendall_tau"])
