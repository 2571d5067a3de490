"""docs/reference/formula.md says what the language does."""

import re
from pathlib import Path

import pytest

from contract.errors import FormulaError
from contract.formula import FUNCTIONS, MAX_DEPTH, MAX_LENGTH, check_units, compile_formula

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "formula.md").read_text()
UNITS = {"ctr": "probability", "like": "probability", "duration_seconds": "seconds", "log_duration": "log_seconds"}
KNOWN = {*UNITS, "price", "w", "w1", "w2", "w3"}


def section(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(title):
    """Give the rows of a section's table, each a list of cells."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_function_is_documented_with_its_number_of_arguments():
    written = {name.strip("`"): arity for name, arity, *_ in rows("Functions")}

    assert written == {name: function.arity() for name, function in FUNCTIONS.items()}


def test_the_limits_are_those_of_the_language():
    assert f"at most {MAX_LENGTH} characters and {MAX_DEPTH} levels" in section("Limits")


def test_every_example_compiles_without_a_warning():
    blocks = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    examples = [formula for block in blocks for formula in re.split(r"\n(?=\S)", block.strip())]

    assert len(examples) == 6
    for example in examples:
        assert check_units(compile_formula(example, KNOWN), UNITS) == (), example


@pytest.mark.parametrize("row", rows("Units"), ids=lambda row: row[1])
def test_every_odd_example_warns_once_and_its_remedy_does_not(row):
    _, odd, remedies = row

    assert len(check_units(odd.strip("`"), UNITS)) == 1
    for remedy in re.findall(r"`(.+?)`", remedies):
        assert check_units(remedy, UNITS) == (), remedy


@pytest.mark.parametrize("text", ["log(-1)", "9 ** 9 ** 9", "ctr / 0", "clip(ctr, 1, 0)", "1 + rank(2)"])
def test_what_the_page_says_is_refused_is_refused(text):
    with pytest.raises(FormulaError):
        compile_formula(text, KNOWN)
