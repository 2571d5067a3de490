"""docs/reference/heads.md says what the code does."""

from pathlib import Path

import pytest

from training.debias import default_debias
from training.heads.registry import head_kinds
from training.objectives import DEBIASINGS, OBJECTIVES, options_of

PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "heads.md").read_text()


def _row(name):
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"{name} has {len(rows)} rows"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


@pytest.mark.parametrize("kind", list(OBJECTIVES))
def test_every_objective_is_documented_with_its_options_defaults_and_debiasing(kind):
    *_, debias, options = _row(kind)

    assert debias == default_debias(kind)
    assert options == (", ".join(f"`{name}={value}`" for name, value in options_of(kind).items()) or "–")


@pytest.mark.parametrize("kind", sorted(set(head_kinds()) - set(OBJECTIVES)))
def test_every_other_head_is_documented(kind):
    assert len(_row(kind)) == 3


@pytest.mark.parametrize("kind", DEBIASINGS)
def test_every_debiasing_is_documented(kind):
    assert len(_row(kind)) == 3
