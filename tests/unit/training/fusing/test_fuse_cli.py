"""``fulcrum fuse`` on the simulator, from a published model to a changed profile."""

import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from contract.bundle import read_bundle
from contract.fusion_bundle import read_fusion
from fulcrum.cli import build
from tests.unit.training.fusing.test_apply import TOKEN, FakeAdmin
from training.config import TrainConfig
from training.data.format import open_dataset
from training.data.simulator import prepare
from training.errors import ApplyConflict, ApplyError, InvalidOption, LogError, MissingExtra, SearchError, TrainingError
from training.fusing import cli
from training.fusing.reading import read_log
from training.fusing.score import outcome_names, write_log
from training.models.base import ModelConfig
from training.pipeline import evaluate_bundle, train_and_publish

FORMULA = "w1 * ctr + w2 * ctr * log1p(duration_seconds)"
WEIGHTS = {"w1": {"value": 1.0, "min": 0, "max": 2}, "w2": {"value": 0.2, "min": 0, "max": 1, "step": 0.05}}
UTILITY = "click + 0.01 * min(duration, 600)"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A prepared dataset, a model, its logs of two splits, a search and a fit, all by the commands."""
    home = tmp_path_factory.mktemp("fuse")
    dataset = prepare(home / "data", rows=12_000, seed=1)
    config = TrainConfig(data="simulator", arch="shared_bottom", epochs=2, model=ModelConfig(embedding_dim=4))
    train_and_publish(dataset, config, home / "models", name="feed")
    (home / "profile.json").write_text(
        json.dumps({"profile": "feed", "revision": 1, "formula": FORMULA, "weights": WEIGHTS})
    )
    for split in ("validation", "test"):
        _fuse(home, "score", "--data", "data", "--models", "models", "--name", "feed", "--split", split,
              "--out", f"{split}.parquet")  # fmt: skip
    logs = ["validation.parquet", "--evaluate", "test.parquet", "--profile", "profile.json"]
    _fuse(home, "search", *logs, "--utility", UTILITY, "--trials", "15", "--out", "found.json")
    _fuse(home, "search", *logs, "--utility", "click", "--utility", "1 - click", "--k", "3", "--trials", "30",
          "--out", "front.json")  # fmt: skip
    _fuse(home, "fit", *logs, "--search", "found.json", "--utility", UTILITY, "--name", "feed", "--out", "fusions")
    return home


def _fuse(home, *arguments):
    """Run a command; words that name files of the home become their paths."""
    given = [str(home / each) if each.split(".")[-1] in _FILES or each in _FOLDERS else each for each in arguments]
    result = CliRunner().invoke(build(), ["fuse", *given])
    if isinstance(result.exception, TrainingError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


_FILES, _FOLDERS = ("parquet", "json", "txt"), ("data", "models", "fusions", "fusions/feed/1")


def test_a_log_holds_the_heads_and_labels_that_the_offline_report_is_made_of(home):
    log = read_log(home / "test.parquet")
    report = evaluate_bundle(read_bundle(home / "models" / "feed" / "1"), open_dataset(home / "data"))

    assert log.num_rows == report["rows"]
    assert log.document.outcomes == ("click", "observed_like", "duration")
    assert np.nanmean(log.columns["click"]) == pytest.approx(report["heads"]["ctr"]["rate"])
    seconds, known = log.columns["duration_seconds"], ~np.isnan(log.columns["duration"])
    truth = log.columns["duration"][known]
    assert np.abs(truth - seconds[known]).mean() == pytest.approx(report["heads"]["duration"]["mae_seconds"], rel=1e-6)
    assert known.tolist() == (log.columns["click"] == 1).tolist()


def test_a_log_names_its_items_and_repeats_a_requests_numbers_for_its_candidates(home):
    table = pq.read_table(home / "validation.parquet")
    log = read_log(home / "validation.parquet")

    assert table["item_id"].null_count == 0
    for r in range(0, log.num_requests, 7):
        assert np.ptp(log.span(r, r + 1).columns["activity"]) == 0
    assert log.document.source.split == "validation"


def test_the_search_writes_weights_within_bounds_and_a_picture_beside(home):
    found = json.loads((home / "found.json").read_text())

    assert 0 <= found["points"][0]["weights"]["w1"] <= 2
    assert len(found["trials"]) == 16
    assert found["current"]["revision"] == 1
    assert (home / "found.png").stat().st_size > 10_000
    assert len(json.loads((home / "front.json").read_text())["now"]["objectives"]) == 2


def test_the_fit_publishes_a_bundle_with_its_report(home):
    bundle = read_fusion(home / "fusions" / "feed" / "1")

    names = [each["name"] for each in bundle.report()["comparison"]["contenders"]]
    assert {"default", "current profile", "search", "lambdarank", "listnet"} <= set(names)
    assert bundle.manifest.provenance.config["command"].startswith("fulcrum ")


@pytest.fixture
def admin(monkeypatch):
    admin = FakeAdmin(formula=FORMULA, weights=WEIGHTS)
    monkeypatch.setattr(cli, "admin_client", lambda url: TestClient(admin.app, base_url=url))
    monkeypatch.setenv("FULCRUM_ADMIN_TOKEN", TOKEN)
    return admin


def test_a_found_point_goes_into_the_service_and_is_shown_before_and_after(home, admin):
    said = _fuse(home, "apply", "found.json", "--reason", "searched")

    found = json.loads((home / "found.json").read_text())["points"][0]["weights"]
    assert admin.revisions[-1]["weights"] == found
    assert "'feed' is at revision 2" in said
    with pytest.raises(ApplyConflict, match="me wrote revision 2"):
        _fuse(home, "apply", "found.json")


def test_of_several_points_one_has_to_be_chosen(home, admin):
    points = json.loads((home / "front.json").read_text())["points"]
    assert len(points) > 1

    with pytest.raises(SearchError, match="--point"):
        _fuse(home, "apply", "front.json")
    with pytest.raises(SearchError, match=f"no point {len(points)}"):
        _fuse(home, "apply", "front.json", "--point", str(len(points)))
    _fuse(home, "apply", "front.json", "--point", "1")

    assert admin.revisions[-1]["weights"] == points[1]["weights"]


def test_a_learned_fusion_goes_into_the_service_with_the_token_of_a_file(home, admin, monkeypatch):
    monkeypatch.delenv("FULCRUM_ADMIN_TOKEN")
    with pytest.raises(ApplyError, match="no token"):
        _fuse(home, "apply", "--bundle", "fusions/feed/1")
    (home / "token.txt").write_text(f"{TOKEN}\n")

    _fuse(home, "apply", "--bundle", "fusions/feed/1", "--token-file", "token.txt", "--reason", "learned")

    assert admin.bodies[-1] == {"kind": "model", "model": "feed", "version": 1, "reason": "learned"}


def test_either_a_search_or_a_bundle_is_applied(home, admin):
    for arguments in ((), ("found.json", "--bundle", "fusions/feed/1")):
        with pytest.raises(InvalidOption, match="nothing to apply"):
            _fuse(home, "apply", *arguments)


def test_one_log_is_split_by_time_where_no_later_one_is_given(home):
    said = _fuse(home, "search", "test.parquet", "--profile", "profile.json", "--utility", UTILITY, "--trials", "1",
                 "--fit-share", "0.5", "--out", "half.json")  # fmt: skip

    total = read_log(home / "test.parquet").num_requests
    assert f"searched {total // 2} requests" in said


def test_impressions_that_the_model_was_trained_on_are_not_scored(home):
    with pytest.raises(LogError, match="trained on the train split"):
        write_log(read_bundle(home / "models/feed/1"), open_dataset(home / "data"), "train", home / "x.parquet")
    with pytest.raises(LogError, match="trained on the train split"):
        _fuse(home, "score", "--data", "data", "--models", "models", "--name", "feed", "--split", "train",
              "--out", "x.parquet")  # fmt: skip


def test_logs_in_the_wrong_order_are_refused(home):
    with pytest.raises(LogError, match="before the log to fit on"):
        _fuse(home, "fit", "test.parquet", "--evaluate", "validation.parquet", "--utility", "click", "--name", "feed",
              "--out", "fusions")  # fmt: skip


@pytest.mark.parametrize("bounds", ["w1", "w1=0", "w1=a:b"])
def test_bounds_that_are_none_are_refused(home, bounds):
    with pytest.raises(InvalidOption, match="no bounds"):
        _fuse(home, "search", "validation.parquet", "--profile", "profile.json", "--utility", "click",
              "--bounds", bounds, "--out", "x.json")  # fmt: skip


@pytest.mark.parametrize(("package", "command"), [("optuna", "search"), ("lightgbm", "fit")])
def test_a_package_that_is_not_installed_is_named_with_how_to_get_it(home, monkeypatch, package, command):
    monkeypatch.setitem(sys.modules, package, None)
    more = (
        ["--profile", "profile.json", "--out", "x.json"] if command == "search" else ["--name", "x", "--out", "fusions"]
    )

    with pytest.raises(MissingExtra, match=r"requirements/fuse\.txt"):
        _fuse(home, command, "test.parquet", "--utility", "click", *more)


def test_an_outcome_is_named_by_its_label_unless_a_head_has_the_name_or_the_caller_another():
    class Head:
        def __init__(self, name):
            self.name = name

    heads = [Head("ctr"), Head("like"), Head("duration_seconds")]

    plain = outcome_names(["ctr", "like", "duration"], heads, ["price"], {})
    renamed = outcome_names(["ctr", "like", "duration"], heads, ["price"], {"liked": "like"})

    assert plain == {"click": "ctr", "observed_like": "like", "duration": "duration"}
    assert renamed == {"click": "ctr", "liked": "like", "duration": "duration"}
    assert outcome_names(["price"], heads, ["price"], {}) == {"observed_price": "price"}
    with pytest.raises(InvalidOption, match="no label 'lick'"):
        outcome_names(["ctr"], heads, [], {"click": "lick"})
