"""Laws of the formula language, over random formulas of its whole grammar."""

from itertools import pairwise

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from contract.errors import FormulaError
from contract.formula import compile_formula, parse, unparse
from contract.formula.folding import fold
from contract.formula.listwise import over_lists
from contract.formula.quiet import quiet
from contract.formula.running import runner_of
from tests.formulas import NAMES, Oracle, Undecided, formulas, tables

NEVER_RIGHT = ("is nan", "is inf", "is -inf", "divides by 0", "lower bound above", "reads no head")


def compiled(text):
    """Compile, passing over formulas whose constants can never be right."""
    try:
        return compile_formula(text, set(NAMES))
    except FormulaError as error:
        assert any(reason in error.detail for reason in NEVER_RIGHT), error.detail
        assume(False)


def run(tree, table, size):
    values = {name: np.array(column) for name, column in table.items()}
    scores = quiet().run(runner_of(tree), values, lambda call, value: over_lists(call.name, value, size, None))
    return np.broadcast_to(scores, (size,))


@settings(max_examples=400, deadline=None)
@given(text=formulas, table=tables())
def test_a_formula_gives_what_its_text_says_for_each_candidate(text, table):
    formula = compiled(text)
    oracle = Oracle(text, table)
    try:
        expected = oracle.values()
    except Undecided:
        assume(False)

    scores = formula(table, len(expected))

    if oracle.is_exact:
        np.testing.assert_array_equal(scores, expected)
    else:
        np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(text=formulas, data=st.data(), lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_many_requests_at_once_score_as_each_by_itself_to_the_last_bit(text, data, lengths):
    formula = compiled(text)
    offsets = np.cumsum([0, *lengths])
    size = int(offsets[-1])
    table = data.draw(tables(st.just(size)))
    parts = [
        formula({name: column[start:stop] for name, column in table.items()}, stop - start)
        for start, stop in pairwise(offsets)
    ]

    together = formula(table, size, offsets)

    np.testing.assert_array_equal(together, np.concatenate(parts))


@settings(max_examples=200, deadline=None)
@given(text=formulas, table=tables())
def test_folding_constants_never_changes_a_score(text, table):
    formula = compiled(text)
    size = len(table["a"])

    np.testing.assert_array_equal(run(fold(formula.tree), table, size), run(formula.tree, table, size))


@settings(max_examples=200, deadline=None)
@given(text=formulas)
@example(text="-a ** -b ** c")
@example(text="(-1) ** a - (b - c) / (a / b)")
@example(text="(a < b) == (b < c)")
def test_a_formula_written_out_again_means_the_same(text):
    tree = parse(text)
    written = unparse(tree)

    assert parse(written) == tree
    assert unparse(parse(written)) == written


@settings(max_examples=200, deadline=None)
@given(text=formulas)
@example(text="-0 * a")
@example(text="(2 - 3) ** a")
def test_a_folded_formula_written_out_again_means_the_same(text):
    folded = fold(compiled(text).tree)

    again = fold(parse(unparse(folded)))

    assert again == folded
    assert unparse(again) == unparse(folded)
