"""``fulcrum report`` on the simulator, from the command to files that a person can read."""

import json
import re

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from typer.testing import CliRunner

from fulcrum.cli import build
from training.comparing.capacity import TOLERANCE
from training.comparing.compare import named_architectures
from training.comparing.findings import Comparison
from training.comparing.runs import Contender, Material, Runner
from training.config import TrainConfig
from training.data.columns import encode_split
from training.data.schema import fit_schema
from training.data.simulator import prepare
from training.errors import InvalidOption, UnknownArchitecture

ARGUMENTS = ["report", "--data", "simulator", "--archs", "shared_bottom, mmoe", "--seeds", "2", "--epochs", "1"]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Folder of the report, and what the command said."""
    out = tmp_path_factory.mktemp("report") / "new"
    result = CliRunner().invoke(build(), [*ARGUMENTS, "--rows", "3000", "--workers", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.fixture(scope="module")
def report(outcome):
    return Comparison.model_validate_json((outcome[0] / "report.json").read_text())


@pytest.fixture(scope="module")
def page(outcome):
    return (outcome[0] / "report.md").read_text()


def test_the_command_says_what_follows_and_where_to_read_on(outcome, report):
    _, said = outcome

    assert report.advice
    flat = " ".join(said.split())
    assert all(" ".join(advice.text.split()) in flat for advice in report.advice)
    assert "report.md" in said


def test_every_architecture_and_the_reference_were_trained_at_one_size(report):
    by_name = {each.name: each for each in report.contenders}

    assert {"single_task", "shared_bottom", "mmoe"} <= set(by_name)
    assert by_name["single_task"].networks == 3
    for each in report.contenders:
        assert abs(each.dense_parameters - report.budget) <= TOLERANCE * report.budget


def test_tuned_static_weights_are_always_in_the_comparison_and_marked(report, page):
    search = report.weight_search
    tuned = [each for each in report.sharing if each.weights]

    assert len(search.trials) == 7
    assert len(tuned) == (0 if search.keeps_equal_weights else 1)
    assert "◀" in page
    for each in tuned:
        assert "(tuned weights)" in each.name
        assert each.weights == search.found


def test_gradients_were_compared_where_weights_are_shared_and_nowhere_else(report):
    assert report.reference.cosines == {}
    for each in report.sharing:
        assert set(each.cosines) == {"ctr · like", "ctr · duration", "like · duration"}
        assert all(-1.0 <= epoch.mean <= 1.0 for epochs in each.cosines.values() for epoch in epochs)


def test_gates_are_shown_for_what_has_gates(report):
    gated = {each.architecture: each.gates for each in report.sharing}

    assert gated["shared_bottom"] == ()
    for gate in gated["mmoe"]:
        assert sum(gate.mean_weights.values()) == pytest.approx(1.0, abs=1e-4)


def test_labels_are_related_on_the_rows_where_both_are_defined(report):
    pair = next(each for each in report.relations if {each.first, each.second} == {"ctr", "like"})

    assert pair.first_given_second == 1.0  # a like is defined, and so happens, on clicks alone
    assert 0.0 < pair.second_given_first < 1.0


def test_the_page_names_every_contender_task_and_verdict(report, page):
    for each in report.contenders:
        assert f"| {each.name} |" in page
    for task in report.kinds:
        assert f"| {task} |" in page
    assert "no difference" in page
    assert "mean ± standard deviation" in page
    assert "nan" not in page.lower().replace("nano", "")


def test_every_picture_of_the_page_is_there_and_has_something_on_it(outcome, page):
    out, _ = outcome
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)

    assert {"gains.png", "labels.png", "gradients.png", "gates.png"} <= set(named)
    for name in named:
        pixels = imread(out / name)
        assert pixels.shape[0] > 200
        assert pixels.shape[1] > 300
        assert pixels[..., :3].std() > 0.02


def test_the_json_has_no_nan_and_the_pages_numbers(outcome, report):
    text = (outcome[0] / "report.json").read_text()

    assert "NaN" not in text
    assert json.loads(text)["seeds"] == [0, 1]
    assert len(report.sharing[0].gains) == 6


def test_runs_side_by_side_give_the_numbers_of_runs_one_by_one(tmp_path):
    """Workers map the encoded files again; nothing of a run depends on who else runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dataset = prepare(tmp_path / "data", rows=1_000, seed=0)
    schema = fit_schema(dataset)
    splits = {name: encode_split(dataset, name, schema, tmp_path / name) for name in ("train", "validation", "test")}
    material = Material(dataset=dataset, schema=schema, splits=splits)
    contender = Contender(name="mmoe", config=TrainConfig(data="simulator", arch="mmoe", epochs=1))
    jobs = [(contender, 1), (contender, 0)]

    with Runner(material, workers=1) as alone, Runner(material, workers=2) as crowd:
        expected, found = alone.run(jobs), crowd.run(jobs)

    torch.set_num_threads(threads)
    assert [run.seed for run in found] == [1, 0]
    assert [run.numbers for run in found] == [run.numbers for run in expected]
    assert found[0].numbers != found[1].numbers
    assert isinstance(splits["train"].labels["ctr"], np.memmap)


def test_architectures_are_named_by_commas_each_once_without_the_reference():
    assert named_architectures("mmoe,shared_bottom, mmoe,single_task") == ("mmoe", "shared_bottom")


def test_an_unknown_architecture_is_refused_before_anything_is_trained():
    with pytest.raises(UnknownArchitecture, match="known: "):
        named_architectures("mmoe,nmoe")


def test_the_reference_alone_is_nothing_to_compare():
    with pytest.raises(InvalidOption, match="nothing to compare"):
        named_architectures("single_task")
