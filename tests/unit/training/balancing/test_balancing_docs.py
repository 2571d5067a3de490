"""docs/reference/balancing.md says what there is."""

import re

import pytest

from tests.conftest import ROOT
from training.balancing.base import balancers

PAGE = (ROOT / "docs" / "reference" / "balancing.md").read_text()


@pytest.mark.parametrize("name", list(balancers()))
def test_every_balancer_is_documented_with_its_options_and_their_defaults(name):
    row = re.search(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)

    assert row, name
    for option, field in balancers()[name].Options.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert f"`{option}` ({shown})" in row[0]


def test_no_balancer_is_documented_that_is_not_there():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(balancers())


@pytest.mark.parametrize("name", list(balancers()))
def test_every_module_names_its_source_and_its_equations(name):
    text = (ROOT / "training" / "balancing" / f"{name}.py").read_text()

    assert "Equations" in text
    assert "https://" in text or name in ("static", "magnitude")
