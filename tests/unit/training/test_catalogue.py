"""``fulcrum models``: every architecture, its options and its cost, for people and for machines."""

import json

import pytest
from typer.testing import CliRunner

from fulcrum.cli import build
from training.catalogue import describe
from training.errors import UnknownArchitecture
from training.models.registry import architectures


def _models(*arguments):
    result = CliRunner().invoke(build(), ["models", *arguments], env={"COLUMNS": "240"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_has_every_architecture_with_its_paper_link_and_cost():
    shown = _models()

    for name, architecture in architectures().items():
        assert f" {name} " in shown
        assert architecture.title in shown
        assert architecture.link in shown
    row = next(line for line in shown.splitlines() if " shared_bottom " in line)
    assert row.count("1.0x") == 3


def test_machines_read_the_list_as_json():
    entries = json.loads(_models("--json"))

    assert [entry["name"] for entry in entries] == list(architectures())
    by_name = {entry["name"]: entry for entry in entries}
    assert set(by_name["shared_bottom"]["relative"].values()) == {1.0}
    assert by_name["single_task"]["relative"]["table_parameters"] == 4.0
    assert all(entry["cost"]["parameters"] > 0 for entry in entries)


def test_one_architecture_is_shown_with_its_options_types_and_defaults():
    shown = _models("pepnet")

    assert "https://arxiv.org/abs/2302.01115" in shown
    assert describe("pepnet").summary in shown
    assert "tuple[str, ...] | None" in shown
    assert "gate_hidden" in shown
    assert "Width G of each gate's hidden layer." in shown


def test_an_architecture_without_options_says_so():
    assert "no options of its own" in _models("shared_bottom")


def test_machines_read_one_architecture_as_one_object():
    entry = json.loads(_models("info_select", "--json"))

    options = {option["name"]: (option["type"], option["default"]) for option in entry["options"]}
    assert options["level"] == ("'field' | 'expert' | 'hidden' | 'all'", "all")
    assert options["l0"] == ("float", 0.0001)


@pytest.mark.parametrize("name", list(architectures()))
def test_every_option_says_what_it_means_and_every_architecture_what_it_is(name):
    entry = describe(name)

    assert len(entry.summary) > 20
    for option in entry.options:
        assert option.meaning, f"{name}: {option.name} is not in the Args of its Options"


def test_an_unknown_architecture_names_the_known_ones():
    with pytest.raises(UnknownArchitecture, match="shared_bottom"):
        describe("nope")
