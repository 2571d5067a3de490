"""Objectives from the command line: names, options, refusals, and a whole run with each."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.bundle import latest_bundle
from contract.durations import Cread, D2q, LogHuber
from fulcrum.cli import build
from training.config import OptimConfig, TrainConfig
from training.data.simulator import prepare
from training.errors import InvalidOption
from training.models.base import ModelConfig
from training.objectives import OBJECTIVES, debias_named, make_objective, options_of
from training.options import parse_options, parse_weights
from training.pipeline import evaluate_bundle, train_and_publish

SMALL = TrainConfig(
    data="simulator",
    arch="shared_bottom",
    epochs=3,
    model=ModelConfig(embedding_dim=4, hidden=(8,), tower_hidden=(), dropout=0.0),
    optim=OptimConfig(batch_requests=8, learning_rate=5e-3),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("simulated") / "data", rows=20_000, seed=1)


def test_options_are_what_a_user_chooses_and_not_what_is_fitted():
    assert options_of("d2q") == {"by": None, "groups": 10}
    assert options_of("log_huber") == {"delta": 1.0}
    assert options_of("log_mse") == {}


def test_options_come_as_words_and_become_numbers():
    assert make_objective("log_huber", parse_options(["delta=0.5"])) == LogHuber(delta=0.5)
    assert make_objective("d2q", parse_options(["by=length", "groups=4"])) == D2q(by="length", groups=4)
    assert make_objective("cread", {"bins": "30"}) == Cread(bins=30)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("mse", {}, "known: log_mse, log_huber, ziln"),
        ("d2q", {"bye": "length"}, "no option 'bye'.*by, groups"),
        ("d2q", {"seconds": "1"}, "no option 'seconds'.*by, groups"),
        ("cread", {"bins": "1"}, "option 'bins' of cread.*its options are: bins"),
        ("cread", {"bins": "many"}, "option 'bins' of cread"),
        ("wlr", {"scale": "2"}, "its options are: none"),
    ],
)
def test_what_is_no_objective_or_option_is_refused_with_those_that_are(kind, options, words):
    with pytest.raises(InvalidOption, match=words):
        make_objective(kind, options)


@pytest.mark.parametrize("pair", ["delta", "=1", "delta=", ""])
def test_a_word_that_is_no_pair_is_refused(pair):
    with pytest.raises(InvalidOption, match="name=value"):
        parse_options([pair])


@pytest.mark.parametrize("weight", ["ctr=much", "ctr=-1", "ctr=nan", "ctr=inf"])
def test_a_weight_that_is_no_number_of_0_or_more_is_refused(weight):
    with pytest.raises(InvalidOption, match="0 or more"):
        parse_weights([weight])


def test_an_unknown_debiasing_is_refused_with_those_that_are():
    with pytest.raises(InvalidOption, match="lognormal, smearing, isotonic"):
        debias_named("duan")


def test_the_weight_of_a_task_that_is_not_there_is_refused_with_those_that_are(dataset, tmp_path):
    with pytest.raises(InvalidOption, match=r"'clicks'.*ctr, like, duration"):
        train_and_publish(dataset, SMALL.model_copy(update={"task_weights": {"clicks": 2.0}}), tmp_path, name="m")


@pytest.mark.parametrize("kind", list(OBJECTIVES))
def test_every_objective_trains_and_publishes_a_bundle_that_says_how_biased_it_is(kind, dataset, tmp_path):
    objective = make_objective(kind, {"by": "length_seconds"} if kind == "d2q" else {})

    bundle = train_and_publish(dataset, SMALL.model_copy(update={"objective": objective}), tmp_path, name="m")

    task = next(task for task in bundle.manifest.tasks if task.kind == "duration")
    report = bundle.report()["heads"]["duration"]
    assert task.objective.kind == kind
    assert -0.4 < report["bias_tre"] < 0.4
    assert report["predicted_over_observed"] == pytest.approx(1 / (1 - report["bias_tre"]), rel=1e-6)
    if kind in ("wlr", "cread", "transun"):
        assert report["bias_tre_without_debias"] == pytest.approx(report["bias_tre"], abs=1e-4)
    if kind in ("log_mse", "log_huber", "d2q"):
        assert report["bias_tre_without_debias"] < report["bias_tre"]


def test_the_bias_table_covers_all_rows_by_rising_prediction_and_a_later_evaluation_agrees(dataset, tmp_path):
    bundle = train_and_publish(dataset, SMALL, tmp_path, name="m")
    report = bundle.report()["heads"]["duration"]
    table = report["bias_by_predicted_seconds"]

    assert sum(row["rows"] for row in table) == report["rows"]
    assert (np.diff([row["predicted"] for row in table]) >= 0).all()
    again = evaluate_bundle(bundle, dataset)["heads"]["duration"]
    assert again == {name: value for name, value in report.items() if name != "bias_tre_without_debias"}


def test_a_cap_shortens_training_rows_and_leaves_the_held_out_ones(dataset, tmp_path):
    plain = train_and_publish(dataset, SMALL, tmp_path, name="plain")
    capped = train_and_publish(dataset, SMALL.model_copy(update={"max_seconds": 20.0}), tmp_path, name="capped")

    def duration(bundle):
        return bundle.report()["heads"]["duration"], next(t for t in bundle.manifest.tasks if t.kind == "duration")

    (report, task), (report_capped, task_capped) = duration(plain), duration(capped)
    assert task_capped.objective.mean < np.log1p(20.0) < task.objective.mean
    assert report_capped["mean_seconds"] == report["mean_seconds"]
    assert report_capped["bias_tre_without_debias"] < -0.5, "the cap is in what was learnt"
    assert abs(report_capped["bias_tre"]) < 0.3, "and validation gives the total back"


def test_the_command_line_takes_all_of_them(dataset, tmp_path):
    words = [
        "train", "--data", str(dataset.path), "--arch", "shared_bottom", "--epochs", "1", "--out", str(tmp_path),
        "--name", "m", "--objective", "d2q", "--objective-option", "by=length_seconds",
        "--objective-option", "groups=3", "--debias", "isotonic", "--task-weight", "ctr=2",
        "--task-weight", "like=0.5", "--max-seconds", "900",
        "--allow-leak", "popularity",
    ]  # fmt: skip

    result = CliRunner().invoke(build(), words, catch_exceptions=False)

    assert result.exit_code == 0
    manifest = latest_bundle(tmp_path, "m").manifest
    config = manifest.provenance.config
    assert config["objective"] == json.loads(D2q(by="length_seconds", groups=3).model_dump_json())
    assert config["task_weights"] == {"ctr": 2.0, "like": 0.5}
    assert (config["max_seconds"], config["allow_leaks"]) == (900.0, ["popularity"])
    task = next(task for task in manifest.tasks if task.kind == "duration")
    assert (len(task.objective.seconds), task.debias.kind) == (3, "isotonic")
