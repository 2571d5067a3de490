"""Whatever `fulcrum train --arch NAME` publishes, the service loads, gates and ranks with."""

import pytest
from starlette.testclient import TestClient

import training.models
from service.app import create_app
from service.settings import Settings
from training.config import OptimConfig, TrainConfig
from training.data.simulator import prepare
from training.models.base import ModelConfig
from training.models.registry import architectures
from training.pipeline import train_and_publish

_ = training.models  # filled the registry
SMALL = ModelConfig(embedding_dim=4, hidden=(8, 4), tower_hidden=(4,), num_experts=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("simulated") / "data", rows=1_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("arch", list(architectures()))
def test_a_published_bundle_ranks_its_own_example(arch, dataset, tmp_path):
    config = TrainConfig(data="simulator", arch=arch, epochs=1, model=SMALL, optim=OptimConfig(batch_requests=16))
    bundle = train_and_publish(dataset, config, tmp_path / "models", name="m")
    settings = Settings(models_dir=tmp_path / "models", fusion_store=":memory:")

    with TestClient(create_app(settings)) as client:
        answer = client.post("/v1/rank", json=client.get("/v1/models/m/example").json())

    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [row["rank"] for row in results] == list(range(1, len(results) + 1))
    assert all(row["score"] is not None for row in results)
    assert bundle.manifest.architecture == arch
