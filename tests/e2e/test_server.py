"""Promises that only a real process can keep: changes under fire, restarts, swaps, replay."""

import json
import math
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from contract.bundle import bundle_versions, latest_bundle
from tests.e2e.server import ROOT, TOKEN, server
from training.config import TrainConfig
from training.data import simulator
from training.models.base import ModelConfig
from training.pipeline import train_and_publish
from training.replay import replay

pytestmark = pytest.mark.e2e
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
DEMO = ROOT / "models_onnx"


@pytest.fixture
def running(tmp_path):
    with server(DEMO, tmp_path / "fusion.sqlite") as running:
        yield running


def _put(client, weight):
    body = {"formula": "w * ctr + log1p(duration_seconds)", "weights": {"w": weight}}
    seen = client.get("/v1/admin/fusion/default", headers=ADMIN).headers["etag"]
    response = client.put("/v1/admin/fusion/default", json=body, headers={**ADMIN, "If-Match": seen})
    assert response.status_code == 200, response.text
    return response.json()["revision"]


def _expected(heads, weight):
    return weight * heads["ctr"] + math.log1p(heads["duration_seconds"])


def test_two_hundred_changes_under_fire_fail_no_request_and_mix_no_revisions(running):
    weights, done, answers = {}, threading.Event(), []

    def fire(body):
        with httpx.Client(base_url=running.url, timeout=30) as client:
            while not done.is_set():
                response = client.post("/v1/rank", content=body)
                assert response.status_code == 200, response.text
                answers.append(response.json())

    with httpx.Client(base_url=running.url, timeout=30) as client, ThreadPoolExecutor(3) as pool:
        body = json.dumps(client.get("/v1/models/demo/example").json())
        weights[_put(client, 0.0)] = 0.0
        clients = [pool.submit(fire, body) for _ in range(3)]
        try:
            for weight in range(1, 201):
                revision = _put(client, float(weight))
                weights[revision] = float(weight)
                after = client.post("/v1/rank", content=body).json()
                assert after["fusion"]["revision"] == revision, "the request after a PUT must use it"
        finally:
            done.set()
        for each in clients:
            each.result()

    assert sorted(weights) == list(range(min(weights), min(weights) + 201)), "revisions only grow, none is lost"
    used = {answer["fusion"]["revision"] for answer in answers}
    assert len(used - {1}) > 20, "the fire has to meet many revisions for this test to say something"
    for answer in answers:
        revision = answer["fusion"]["revision"]
        if revision in weights:
            for result in answer["results"]:
                assert result["score"] == pytest.approx(_expected(result["heads"], weights[revision]), rel=1e-9)


def test_a_change_survives_kill_nine(tmp_path):
    store = tmp_path / "fusion.sqlite"
    with server(DEMO, store) as first, httpx.Client(base_url=first.url) as client:
        revision = _put(client, 3.0)
        first.kill()

    with server(DEMO, store) as second:
        kept = httpx.get(f"{second.url}/v1/admin/fusion/default", headers=ADMIN).json()

    assert (kept["revision"], kept["weights"]) == (revision, {"w": 3.0})


def test_a_new_version_takes_over_without_a_failed_request_and_a_broken_one_changes_nothing(tmp_path):
    models = tmp_path / "models"
    shutil.copytree(DEMO / "demo", models / "demo")
    newest = bundle_versions(models, "demo")[-1]

    def publish(version, *, broken=False):
        draft = models / "demo" / f".draft-{version}"
        shutil.copytree(models / "demo" / str(newest), draft)
        if broken:
            (draft / "model.onnx").write_bytes(b"not a graph")
        draft.rename(models / "demo" / str(version))

    with server(models, tmp_path / "f.sqlite") as running, httpx.Client(base_url=running.url, timeout=30) as client:
        body = client.get("/v1/models/demo/example").json()

        def until(condition):
            while True:
                response = client.post("/v1/rank", json=body)
                assert response.status_code == 200, response.text
                ready = client.get("/readyz").json()
                if condition(ready):
                    return response.json()["model"]["version"]

        publish(newest + 1)
        until(lambda ready: ready["models"] == {"demo": newest + 1})
        publish(newest + 2, broken=True)
        until(lambda ready: f"demo/{newest + 2}" in ready["rejected"])

        assert client.post("/v1/rank", json=body).json()["model"]["version"] == newest + 1


def test_a_server_that_is_told_to_stop_ends_cleanly(running):
    assert httpx.get(f"{running.url}/livez").status_code == 200
    assert running.stop() in (0, -signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["single_task", "shared_bottom", "mmoe"])
def test_what_was_trained_is_served_and_replay_equals_the_offline_report(arch, tmp_path):
    dataset = simulator.prepare(tmp_path / "data", rows=3_000, seed=2)
    config = TrainConfig(data="simulator", arch=arch, epochs=1, model=ModelConfig(embedding_dim=4, hidden=(8,)))
    bundle = train_and_publish(dataset, config, tmp_path / "models", name="fresh")

    with server(tmp_path / "models", tmp_path / "f.sqlite") as running:
        replayed = replay(dataset, running.url, model="fresh", tasks=bundle.manifest.tasks)

    offline = latest_bundle(tmp_path / "models", "fresh").report()
    for task, metrics in replayed.report["heads"].items():
        for metric, value in metrics.items():
            if isinstance(value, float) and math.isfinite(value):
                assert value == pytest.approx(offline["heads"][task][metric], rel=1e-6, abs=1e-6), (task, metric)
    assert replayed.report["fused"] == pytest.approx(
        {k: offline["fused"][k] for k in replayed.report["fused"]}, abs=1e-6
    )
