"""Every kind of feature on both sides, from a prepared dataset to a ranking over HTTP."""

import asyncio
import json

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from contract.arrays import GraphInputs
from contract.encoding import Encoder
from service.app import create_app
from service.components import load_bundle
from service.settings import Settings
from service.stores.items import read_items
from service.telemetry.metrics import Metrics
from tests.every_kind import DIM, STATIC, TAG_VECTORS, TAGS, every_kind
from training.checkpoint import load_checkpoint
from training.config import OptimConfig, TrainConfig
from training.data.columns import encode_split
from training.golden import encode_query, plain_queries
from training.impressions import score_split
from training.models.base import ModelConfig
from training.models.embedding import FeatureEmbedding
from training.pipeline import train_and_publish

ARCHS = ("shared_bottom", "mmoe")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("every-kind")


@pytest.fixture(scope="module")
def dataset(folder):
    return every_kind(folder / "data")


@pytest.fixture(scope="module")
def bundles(dataset, folder):
    sizes = ModelConfig(embedding_dim=DIM, hidden=(16, 8), tower_hidden=(8,), num_experts=2)
    return {
        arch: train_and_publish(
            dataset,
            TrainConfig(data="", arch=arch, epochs=1, model=sizes, optim=OptimConfig(batch_requests=8)),
            folder / "models",
            name=arch,
            checkpoint=folder / f"{arch}.pt",
        )
        for arch in ARCHS
    }


@pytest.fixture(scope="module")
def encoded(dataset, bundles, folder):
    return encode_split(dataset, "test", bundles["mmoe"].manifest.features, folder / "columns")


@pytest.fixture
def client(folder, bundles):
    with TestClient(create_app(Settings(models_dir=folder / "models", fusion_store=":memory:"))) as client:
        yield client


def _logged_queries(dataset):
    """Logged requests, as a client sends them."""
    for table in dataset.row_groups("test"):
        yield from json.loads(json.dumps(plain_queries(dataset, table)))


@pytest.mark.parametrize("arch", ARCHS)
def test_a_bundle_with_every_kind_passes_the_gate_of_the_service(arch, bundles):
    metrics = Metrics(CollectorRegistry(), version="test")

    model = load_bundle(Settings(), metrics, bundles[arch], threads=1)  # raises ModelRejected

    assert model.manifest.architecture == arch
    asyncio.run(model.aclose())


def test_logged_rows_encode_bit_for_bit_as_the_same_rows_sent_as_json(dataset, bundles, encoded):
    encoder = Encoder(bundles["mmoe"].manifest.features)
    queries = list(_logged_queries(dataset))

    for row, query in enumerate(queries):
        online, offline = encode_query(encoder, query).feeds(), encoded.span(row, row + 1).feeds()
        assert online.keys() == offline.keys()
        for name, array in online.items():
            assert array.tobytes() == np.ascontiguousarray(offline[name]).tobytes(), (row, name)
    assert len(queries) == encoded.num_requests


def test_static_features_from_the_item_table_are_the_logged_ones_bit_for_bit(dataset, bundles, encoded):
    bundle = bundles["mmoe"]
    encoder = Encoder(bundle.manifest.features)
    store = read_items(bundle.items_path, encoder)

    for row, query in enumerate(_logged_queries(dataset)):
        columns = query["candidates"]
        sent = {name: column for name, column in columns.items() if name not in (*STATIC, "item_id")}
        stored = asyncio.run(store.fetch(columns["item_id"])).encoded
        online = GraphInputs.single(encoder.encode_request(query["request"]), encoder.overlay(stored, sent))
        offline = encoded.span(row, row + 1)
        assert online.candidate.ids.tobytes() == np.ascontiguousarray(offline.candidate.ids).tobytes()
        assert online.candidate.dense.tobytes() == np.ascontiguousarray(offline.candidate.dense).tobytes()


@pytest.mark.parametrize("arch", ARCHS)
def test_the_example_body_is_ranked_over_http(arch, client):
    example = client.get(f"/v1/models/{arch}/example").json()

    answer = client.post("/v1/rank", json=example)

    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["rank"] for result in results] == list(range(1, len(results) + 1))
    assert all(np.isfinite(result["score"]) for result in results)


def test_the_service_gives_the_heads_that_the_offline_report_is_made_of(dataset, bundles, client, encoded):
    bundle = bundles["mmoe"]
    offline = score_split(bundle.model_path, bundle.manifest.heads, encoded)

    for row, query in enumerate(_logged_queries(dataset)):
        answer = client.post("/v1/rank", json={**query, "model": "mmoe", "return": ["heads"]}).json()
        heads = {result["item_id"]: result["heads"] for result in answer["results"]}
        first = int(encoded.offsets[row])
        for position, item in enumerate(query["candidates"]["item_id"]):
            for head, value in heads[item].items():
                assert value == pytest.approx(offline[head][first + position], rel=1e-5, abs=1e-6)


def test_the_history_decides_per_candidate(dataset, client):
    query = next(query for query in _logged_queries(dataset) if query["request"]["history"])
    without = {**query, "request": {**query["request"], "history": None}}

    scores = [client.post("/v1/rank", json={**body, "model": "mmoe"}).json()["results"] for body in (query, without)]

    assert scores[0] != scores[1]


def test_the_served_fields_say_what_to_send(client):
    fields = {field["name"]: field for field in client.get("/v1/models/mmoe").json()["fields"]}

    assert fields["picture"] == {
        "name": "picture",
        "side": "candidate",
        "kind": "vector",
        "values": "float",
        "length": 5,
    }
    assert (fields["history"]["values"], fields["history"]["length"]) == ("string", 5)
    assert (fields["shop"]["values"], fields["shop"]["length"]) == ("int", None)
    assert (fields["price"]["values"], fields["price"]["length"]) == ("float", None)


@pytest.mark.parametrize(
    ("side", "field", "value", "place"),
    [
        ("candidates", "picture", [0.0] * 4, "/candidates/picture/1"),
        ("candidates", "picture", [0.0, None, 0.0, 0.0, 0.0], "/candidates/picture/1/1"),
        ("candidates", "picture", [0.0, 0.0, 0.0, 0.0, "1"], "/candidates/picture/1/4"),
        ("candidates", "picture", 3.0, "/candidates/picture/1"),
        ("candidates", "tags", [["news"]], "/candidates/tags/1/0"),
        ("candidates", "tags", "news", "/candidates/tags/1"),
        ("request", "taste", [1.0], "/request/taste"),
        ("request", "taste", [1.0, 1e300, 1.0], "/request/taste/1"),
        ("request", "history", ["i1", 2], "/request/history/1"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_with_its_place(side, field, value, place, client):
    body = {"model": "mmoe", "candidates": {"item_id": ["i1", "i2"]}, "request": {}}
    body[side][field] = [None, value] if side == "candidates" else value

    answer = client.post("/v1/rank", json=body)

    assert (answer.status_code, answer.json()["code"], answer.json()["path"]) == (422, "invalid_feature", place)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_frozen_table_is_served_as_its_file_has_it(arch, bundles, folder):
    trained = load_checkpoint(folder / f"{arch}.pt")
    embedding = next(module for module in trained.model.modules() if isinstance(module, FeatureEmbedding))
    start = embedding.starts["tags"]
    vocabulary = trained.features.vocabularies["tags"]

    for row, tag in enumerate(vocabulary):
        wanted = TAG_VECTORS[TAGS.index(tag)].astype(np.float32)
        np.testing.assert_array_equal(embedding.weight.weight[start + 2 + row].detach().numpy(), wanted)
    assert len(vocabulary) == len(TAGS)
