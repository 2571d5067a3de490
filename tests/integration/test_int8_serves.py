"""`fulcrum train --int8`: what it publishes is loaded, gated, and ranks by id as it ranks with features."""

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from training.config import OptimConfig, TrainConfig
from training.data.simulator import prepare
from training.models.base import ModelConfig
from training.pipeline import train_and_publish
from training.quantising.checks import Allowance

MODEL = ModelConfig(embedding_dim=8, hidden=(256, 128), tower_hidden=(16,), num_experts=4)
FEW_ROWS = Allowance(auc_loss=0.01)
"""The test split has 3,000 rows: its AUC moves by a thousandth for no reason."""


@pytest.mark.slow
def test_a_bundle_with_8_bit_weights_says_what_they_cost_and_serves_items_by_id_as_with_their_features(tmp_path):
    dataset = prepare(tmp_path / "data", rows=20_000, seed=1)
    config = TrainConfig(data="simulator", arch="mmoe", epochs=1, model=MODEL, optim=OptimConfig(batch_requests=64))

    bundle = train_and_publish(dataset, config, tmp_path / "models", name="m", int8=FEW_ROWS)
    settings = Settings(models_dir=tmp_path / "models", fusion_store=":memory:")
    with TestClient(create_app(settings)) as client:
        example = client.get("/v1/models/m/example").json() | {"top_k": None}
        inline = client.post("/v1/rank", json=example).json()["results"]
        ids = example["candidates"]["item_id"]
        by_id = client.post("/v1/rank", json=example | {"candidates": {"item_id": ids}}).json()["results"]

    cost = bundle.report()["quantisation"]
    assert bundle.manifest.precision == "int8"
    assert all(0 < noise < 0.1 for noise in cost["noise"].values())
    assert all(loss <= FEW_ROWS.auc_loss for loss in cost["auc_loss"].values())
    assert "uint8" in {share.dtype for share in bundle.manifest.preactivation.shares}
    assert {each["item_id"] for each in by_id} == {each["item_id"] for each in inline}
