"""The processes of the compose file, by hand: a real Prometheus with our rules scrapes a real server."""

import os
import shutil
import socket
import subprocess
import time

import httpx
import pytest
import yaml

from tests.e2e.server import ROOT, server

pytestmark = pytest.mark.e2e
PATIENCE_S = 60.0


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _configuration(folder, target):
    """Our own configuration, with the target of this test and a short interval in place of compose's."""
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    job = next(job for job in document["scrape_configs"] if job["job_name"] == "fulcrum")
    job["static_configs"] = [{"targets": [target]}]
    document["scrape_configs"] = [job]
    document["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    job.pop("scrape_interval", None)
    job.pop("scrape_timeout", None)
    document["rule_files"] = [str(ROOT / "deploy" / "prometheus" / "rules.yml")]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(document))
    return path


def _until(question):
    """Ask until there is an answer; a query that stays empty fails the test by name."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if answer := question():
                return answer
        except httpx.TransportError:
            continue
    raise AssertionError(f"no answer within {PATIENCE_S:g} s: {question}")


@pytest.fixture
def prometheus(tmp_path):
    if shutil.which("prometheus") is None:
        assert "CI" not in os.environ, "CI has to run this: install Debian's prometheus package"
        pytest.skip("Prometheus is not installed here; Debian's package is called prometheus")
    with server(ROOT / "models_onnx", tmp_path / "fusion.sqlite") as running:
        port = _free_port()
        configuration = _configuration(tmp_path, running.url.removeprefix("http://"))
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={configuration}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield running, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def test_a_real_prometheus_scrapes_the_server_and_evaluates_our_rules(prometheus):
    running, url = prometheus
    body = httpx.get(f"{running.url}/v1/models/demo/example").json()

    def query(expression):
        answer = httpx.get(f"{url}/api/v1/query", params={"query": expression})
        if answer.status_code == 503:  # it listens before it is ready
            return None
        document = answer.json()
        return document["data"]["result"] if document["status"] == "success" else None

    _until(lambda: query('up{job="fulcrum"} == 1'))
    for _ in range(5):
        assert httpx.post(f"{running.url}/v1/rank", json=body).status_code == 200
    ranked = _until(lambda: query('fulcrum_requests_total{route="/v1/rank",status="200"} == 5'))
    model = _until(lambda: query("fulcrum_model_info"))
    rules = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]

    assert ranked[0]["metric"]["job"] == "fulcrum"
    assert model[0]["metric"]["model"] == "demo"
    assert rules
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    assert not [rule for group in rules for rule in group["rules"] if rule.get("lastError")]
