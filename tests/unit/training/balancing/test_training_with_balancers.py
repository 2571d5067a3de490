"""Real training with each balancer, the probe, and the command that starts it."""

import json

import pytest
import torch
from typer.testing import CliRunner

import training.models
from contract.bundle import latest_bundle
from fulcrum.cli import build
from training.balancing.base import balancers
from training.balancing.probe import GradientProbe
from training.config import OptimConfig, TrainConfig
from training.data.columns import encode_split
from training.data.schema import fit_schema
from training.data.simulator import prepare
from training.errors import InvalidOption
from training.fitting import declared_tasks
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.pictures import draw_report
from training.pipeline import train_and_publish
from training.trainer import _balancer, fit

_ = training.models
NAMES = list(balancers())
CONFIG = TrainConfig(
    data="simulator",
    arch="mmoe",
    epochs=1,
    model=ModelConfig(embedding_dim=4, hidden=(16, 8), num_experts=2),
    optim=OptimConfig(learning_rate=0.01, batch_requests=8),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    dataset = prepare(folder / "data", rows=2_000, seed=1)
    schema = fit_schema(dataset)
    splits = {name: encode_split(dataset, name, schema, folder / name) for name in ("train", "validation")}
    return dataset, schema, splits, declared_tasks(dataset)


def _fit(prepared, config):
    _, schema, splits, tasks = prepared
    torch.manual_seed(config.seed)
    model = build_model(config.arch, schema, tasks, config.model)
    return model, fit(model, splits["train"], splits["validation"], config)


@pytest.fixture(scope="module")
def untrained(prepared):
    """Validation losses before the first step."""
    still = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"learning_rate": 1e-12})})
    return _fit(prepared, still)[1][0].validation


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_with_any_balancer_ends_finite_better_than_it_began_and_tells_its_weights(prepared, untrained, name):
    """torch-rechub stops with an UnboundLocalError under gradnorm and metabalance, before the first step."""
    model, history = _fit(prepared, CONFIG.model_copy(update={"balancer": name}))

    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    ends = history[0].validation
    assert sum(ends[task] / untrained[task] for task in ends) < 0.97 * len(ends)
    assert all(ends[task] < 1.2 * untrained[task] for task in ends)
    assert {f"weight/{task}" for task in ends} <= history[0].balance.keys()
    json.dumps(history[0].balance, allow_nan=False)


def test_a_probe_measures_cosines_under_any_balancer_and_changes_no_number(prepared):
    plain = _fit(prepared, CONFIG)[1][0]
    probed = _fit(prepared, CONFIG.model_copy(update={"probe_gradients": 3}))[1][0]

    cosines = {name: value for name, value in probed.balance.items() if name.startswith("cosine/")}
    assert set(cosines) == {"cosine/ctr/duration", "cosine/ctr/like", "cosine/like/duration"}
    assert all(-1 <= value <= 1 for value in cosines.values())
    assert (probed.train, probed.validation) == (plain.train, plain.validation)
    assert not [name for name in plain.balance if name.startswith("cosine/")]


def test_a_probe_looks_as_often_as_it_is_asked_to(prepared):
    _, schema, _, tasks = prepared
    model = build_model("mmoe", schema, tasks, CONFIG.model)
    probe = GradientProbe(_balancer(model, CONFIG).parts, every=4)
    losses = torch.stack([parameter.sum() for parameter in model.shared_parameters()[:3]])

    looked = []
    for batch in range(10):
        probe.look(losses)
        looked += [batch] if probe.statistics() else []

    assert looked == [0, 4, 8]


def test_the_seed_of_the_run_reaches_its_balancer(prepared):
    model = build_model("mmoe", prepared[1], prepared[3], CONFIG.model)

    assert _balancer(model, CONFIG.model_copy(update={"seed": 5})).parts.seed == 5


def test_a_probe_that_is_off_costs_nothing():
    probe = GradientProbe(None, every=None)

    probe.look(None)

    assert probe.statistics() == {}


def test_a_wrong_option_is_refused_before_anything_is_encoded(prepared, tmp_path):
    stages = []
    config = CONFIG.model_copy(update={"balancer": "cagrad", "balancer_options": {"c": 2.0}})
    progress = type("Told", (), {"stage": lambda _, name, rows: stages.append(name), "advance": lambda *_: None})()

    with pytest.raises(InvalidOption, match="option 'c' of cagrad"):
        train_and_publish(prepared[0], config, tmp_path, name="m", progress=progress)

    assert stages == []


def test_the_command_trains_with_a_balancer_and_the_manifest_says_so(tmp_path):
    given = (
        "train --rows 600 --epochs 2 --batch-requests 16 --embedding-dim 4 --balancer cagrad --balancer-option c=0.3 "
        "--task-weight like=2 --probe-gradients 2"
    )

    result = CliRunner().invoke(build(), [*given.split(), "--out", str(tmp_path)], catch_exceptions=False)

    assert result.exit_code == 0, result.output
    bundle = latest_bundle(tmp_path, "simulator")
    config = bundle.manifest.provenance.config
    assert (config["balancer"], config["balancer_options"]) == ("cagrad", {"c": 0.3})
    assert (config["task_weights"], config["probe_gradients"]) == ({"like": 2}, 2)
    assert "cosine/ctr/like" in bundle.report()["training"][0]["balance"]
    assert (bundle.path / "balance.png").is_file()


@pytest.mark.parametrize("pair", ["c", "=3"])
def test_an_option_that_is_no_pair_is_refused(pair):
    result = CliRunner().invoke(build(), ["train", "--balancer", "cagrad", "--balancer-option", pair])

    assert isinstance(result.exception, InvalidOption)
    assert "name=value" in str(result.exception)


def test_static_weights_that_never_move_need_no_picture(tmp_path):
    losses = {"train": {"time": 1.0}, "validation": {"time": 1.0}}
    epochs = [{"epoch": 1 + turn, **losses, "balance": {"weight/time": 1.0}} for turn in range(2)]

    draw_report({"heads": {"time": {"kind": "duration"}}, "training": epochs}, tmp_path)

    assert not (tmp_path / "balance.png").exists()
