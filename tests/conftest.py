"""Shared fixtures: the committed demo bundle behind the real app."""

from pathlib import Path

import hypothesis
import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.valkey import ValkeyServer

# No absolute times: on a busy machine a single example may take a second.
hypothesis.settings.register_profile("fulcrum", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("fulcrum")

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-for-tests"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in ("FULCRUM_ADMIN_TOKEN", "FULCRUM_PORT", "FULCRUM_MODELS_DIR", "FULCRUM_FUSION_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def valkey_server():
    """A real server that keeps what it has answered; each test takes a namespace of its own."""
    with ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def settings(tmp_path):
    return Settings(models_dir=ROOT / "models_onnx", fusion_store=str(tmp_path / "fusion.sqlite"), admin_token=TOKEN)


@pytest.fixture
def client(settings):
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def admin(client):
    """A client that holds the admin token."""
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


@pytest.fixture
def example(client):
    return client.get("/v1/models/demo/example").json()


@pytest.fixture
def write(admin):
    """Write a profile as an operator does: look at it, then change what was seen."""

    def put(body, *, profile="default", **more):
        seen = admin.get(f"/v1/admin/fusion/{profile}")
        headers = {"If-Match": seen.headers["etag"]} if seen.status_code == 200 else {}
        return admin.put(f"/v1/admin/fusion/{profile}", json=body, headers=headers, **more)

    return put
