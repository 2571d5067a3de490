"""From held-out impressions of the demo model to what the running service ranks by."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from contract.bundle import latest_bundle
from contract.fusion_bundle import read_fusion
from fulcrum.cli import build
from service.app import create_app
from tests.conftest import TOKEN
from training.errors import ApplyConflict, TrainingError
from training.fusing import cli
from training.fusing.graphs import graph_scores

ROOT = Path(__file__).parents[2]
FORMULA = "w_click * ctr + w_time * ctr * log1p(duration_seconds)"
WEIGHTS = {"w_click": {"value": 1, "min": 0, "max": 2}, "w_time": {"value": 0.1, "min": 0, "max": 1, "step": 0.05}}
UTILITY = "click + 0.01 * min(duration, 600)"


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """What the demo model said of impressions that it was not trained on, and what came of them."""
    folder = tmp_path_factory.mktemp("logs")
    for split in ("validation", "test"):
        _fuse("score", "--data", "simulator", "--rows", "12000", "--models", ROOT / "models_onnx", "--name", "demo",
              "--split", split, "--out", folder / f"{split}.parquet")  # fmt: skip
    return [folder / "validation.parquet", "--evaluate", folder / "test.parquet"]


@pytest.fixture
def serving(settings, tmp_path, monkeypatch):
    """The real app with a folder for learned fusions; the commands talk to it."""
    app = create_app(settings.model_copy(update={"fusions_dir": tmp_path / "fusions"}))
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        monkeypatch.setattr(cli, "admin_client", lambda url: contextlib.nullcontext(client))
        monkeypatch.setenv("FULCRUM_ADMIN_TOKEN", TOKEN)
        yield client


def _fuse(*arguments):
    result = CliRunner().invoke(build(), ["fuse", *map(str, arguments)])
    if isinstance(result.exception, TrainingError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)


def _write(serving, body):
    seen = serving.get("/v1/admin/fusion/default").headers["etag"]
    answer = serving.put("/v1/admin/fusion/default", json=body, headers={"If-Match": seen})
    assert answer.status_code == 200, answer.text


@pytest.fixture
def found(serving, logs, tmp_path):
    """A search that began from the profile in force."""
    _write(serving, {"formula": FORMULA, "weights": WEIGHTS, "reason": "hand-tuned"})
    (tmp_path / "profile.json").write_text(serving.get("/v1/admin/fusion/default").text)
    _fuse("search", *logs, "--profile", tmp_path / "profile.json", "--utility", UTILITY, "--trials", 10,
          "--out", tmp_path / "found.json")  # fmt: skip
    return tmp_path / "found.json"


def test_found_weights_rank_the_next_request_and_their_reason_stands_in_the_history(serving, found):
    weights = json.loads(found.read_text())["points"][0]["weights"]

    _fuse("apply", found, "--reason", "searched")

    state = serving.get("/v1/admin/fusion/default").json()
    assert {name: each["value"] for name, each in state["weights"].items()} == weights
    assert {name: each["max"] for name, each in state["weights"].items()} == {"w_click": 2, "w_time": 1}
    newest = serving.get("/v1/admin/fusion/default/history").json()["revisions"][0]
    assert (newest["reason"], newest["action"]) == ("searched", "weights")
    best = serving.post("/v1/rank", json=serving.get("/v1/models/demo/example").json()).json()["results"][0]
    heads = best["heads"]
    by_hand = heads["ctr"] * (weights["w_click"] + weights["w_time"] * np.log1p(heads["duration_seconds"]))
    assert best["score"] == pytest.approx(by_hand)


def test_a_change_since_the_search_is_named_and_not_overwritten(serving, found):
    _write(serving, {"formula": FORMULA, "weights": WEIGHTS, "reason": "the sale begins"})

    with pytest.raises(ApplyConflict, match=r"the sale begins.*nothing was written"):
        _fuse("apply", found)

    assert serving.get("/v1/admin/fusion/default").json()["reason"] == "the sale begins"


def test_the_service_scores_by_a_learned_fusion_as_it_was_judged(serving, logs, tmp_path):
    _fuse("fit", *logs, "--utility", UTILITY, "--name", "demo", "--field", "price", "--out", tmp_path / "fusions")
    path = tmp_path / "fusions" / "demo" / "1"

    _fuse("apply", "--bundle", path, "--reason", "learned")

    example = serving.get("/v1/models/demo/example").json() | {"top_k": None}
    ids = [f"{item}#{n}" for n, item in enumerate(example["candidates"]["item_id"])]  # an item may stand twice
    example["candidates"]["item_id"] = ids
    example["candidates"]["price"] = [None if n % 5 == 1 else 1.5 * n for n in range(len(ids))]
    answer = serving.post("/v1/rank", json=example)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    features = latest_bundle(ROOT / "models_onnx", "demo").manifest.features
    default = next(field.default for field in features.fields if field.name == "price")
    given = [default if price is None else price for price in example["candidates"]["price"]]  # as in a scored log
    prices = dict(zip(ids, given, strict=True))
    names = [feature.name for feature in read_fusion(path).manifest.features]
    rows = [[prices[each["item_id"]] if name == "price" else each["heads"][name] for name in names] for each in results]
    wanted = graph_scores(path / "fusion.onnx", np.array(rows, dtype=np.float32))
    assert names[-1] == "price"
    assert [each["score"] for each in results] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert sorted(wanted, reverse=True) == wanted.tolist()
