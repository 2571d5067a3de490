import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from service.app import create_app
from service.settings import Settings

TOKEN = {"Authorization": "Bearer secret"}
GOOD = b'{"candidates": {"item_id": ["a"]}}'


@asynccontextmanager
async def _client(tmp_path, **settings):
    app = create_app(Settings(models_dir=tmp_path, fusion_store=":memory:", **settings))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://fulcrum") as client:
            yield client


def _ask(tmp_path, method, path, *, settings=None, **request):
    async def run():
        async with _client(tmp_path, **({"admin_token": "secret"} | (settings or {}))) as client:
            return await client.request(method, path, **request)

    return asyncio.run(run())


async def _stream():
    for _ in range(9):
        yield b" " * 2**20


CASES = [
    ("POST", "/v1/rank", {"content": b"{"}, 400, "malformed_body"),
    ("POST", "/v1/rank", {"content": b" " * 50_000_000}, 413, "body_too_large"),
    ("POST", "/v1/rank", {"content": GOOD}, 503, "not_ready"),
    ("GET", "/v1/rank", {}, 405, "method_not_allowed"),
    ("GET", "/nowhere", {}, 404, "no_such_route"),
    ("GET", "/v1/admin/fusion", {}, 401, "unauthorized"),
    ("GET", "/v1/admin/fusion", {"headers": {"Authorization": "Bearer Secret"}}, 401, "unauthorized"),
    ("GET", "/v1/admin/fusion", {"headers": {"Authorization": "Basic secret"}}, 401, "unauthorized"),
    ("GET", "/v1/admin/fusion/none", {"headers": TOKEN}, 404, "unknown_profile"),
    ("PUT", "/v1/admin/fusion/p", {"headers": TOKEN, "json": {}}, 422, "invalid_profile"),
    ("PUT", "/v1/admin/fusion/p", {"headers": TOKEN, "content": b"1"}, 400, "malformed_body"),
    ("PUT", "/v1/admin/fusion/p", {"headers": TOKEN, "json": {"formula": 1}}, 422, "invalid_profile"),
    ("PUT", "/v1/admin/fusion/-", {"headers": TOKEN, "json": {"formula": "1"}}, 422, "invalid_profile"),
]


@pytest.mark.parametrize(("method", "path", "request_", "status", "code"), CASES)
def test_every_bad_call_gets_its_own_answer_as_problem_json(tmp_path, method, path, request_, status, code):
    answer = _ask(tmp_path, method, path, **request_)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"]


def test_a_body_that_grows_while_it_is_sent_is_cut_off_too(tmp_path):
    assert _ask(tmp_path, "POST", "/v1/rank", content=_stream()).status_code == 413


def test_the_admin_routes_are_closed_when_no_token_is_set(tmp_path):
    answer = _ask(tmp_path, "GET", "/v1/admin/fusion", settings={"admin_token": ""}, headers=TOKEN)

    assert (answer.status_code, answer.json()["code"]) == (403, "admin_closed")


def test_a_service_without_a_model_lives_but_is_not_ready(tmp_path):
    assert _ask(tmp_path, "GET", "/livez").status_code == 200
    assert _ask(tmp_path, "GET", "/readyz").status_code == 503


def test_names_that_clients_invent_never_become_metric_labels(tmp_path):
    async def run():
        async with _client(tmp_path) as client:
            await client.get("/invented-path")
            await client.post("/v1/rank", content=b'{"model": "invented", "candidates": {"item_id": ["a"]}}')
            return (await client.get("/metrics")).text

    text = asyncio.run(run())

    assert "invented" not in text
    assert 'fulcrum_requests_total{route="/v1/rank",status="503"} 1.0' in text
