"""Explanations: what a score consists of, and the smallest change of a head that moves a result one place up."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contract.errors import FormulaError
from contract.explanation import explain
from contract.explanation.held import hold
from contract.formula import compile_formula
from contract.fusion import FusionProfile, compile_fusion
from tests.formulas import LISTWISE, formulas

UNITS = {"a": "probability", "b": "seconds", "c": "value"}
DOMAINS = {"a": (0.0, 1.0), "b": (0.0, np.inf), "c": (-np.inf, np.inf)}
TINY = 1e-9  # what parts two equal results may be smaller than any number that can be added
RISING_OR_FALLING = [
    "a * log1p(b)",
    "w * a + 0.1 * log1p(b) + c",
    "sqrt(a) * b / (1 + b) - c",
    "clip(c, -1, 1) + 2 * a",
    "min(a, 0.5) + where(b > 10, 1, 0) + min(c, 0)",
    "exp(-b) + sigmoid(c) ** 3",
    "a / (1 + b) + 0 * c",
    "(c > 0) * (b > 20) + (a >= 0.5)",
]


def columns_of(size):
    return st.fixed_dictionaries(
        {
            "a": st.lists(st.floats(0, 1), min_size=size, max_size=size),
            "b": st.lists(st.floats(0, 600), min_size=size, max_size=size),
            "c": st.lists(st.floats(-5, 5), min_size=size, max_size=size),
        }
    ).map(lambda table: {name: np.array(column) for name, column in table.items()})


columns = st.integers(1, 7).flatmap(columns_of)


def fusion_of(formula, weights=None):
    return compile_fusion(FusionProfile(formula=formula, weights=weights or {}), {**UNITS, "price": "field"})


def ranked(fusion, table):
    scores, _ = fusion.score(table, len(next(iter(table.values()))))
    return np.argsort(-scores, kind="stable")


def explained(fusion, table, **options):
    order = ranked(fusion, table)
    return explain(fusion, table, len(order), order, units=UNITS, **options), order


def places_after(fusion, table, head, position, change):
    """Give the rank of the candidate at *position* after its head changed."""
    low, high = DOMAINS[head]
    column = table[head].copy()
    column[position] = np.clip(column[position] + change, low, high)
    return int(np.flatnonzero(ranked(fusion, {**table, head: column}) == position)[0])


@settings(max_examples=60, deadline=None)
@given(formula=st.sampled_from(RISING_OR_FALLING), table=columns)
def test_the_change_moves_the_result_up_and_a_hundredth_less_does_not(formula, table):
    fusion = fusion_of(formula, {"w": 1.5} if "w * " in formula else {})

    explanation, order = explained(fusion, table)

    moves = explanation.moves
    for place, position in enumerate(order):
        for head, change in zip(moves.heads, moves.absolute[place], strict=True):
            farthest = [edge if np.isfinite(edge) else np.sign(edge) * 1e5 for edge in DOMAINS[head]]
            if place == 0:
                assert np.isnan(change)
            elif np.isnan(change):
                ends = [places_after(fusion, table, head, position, end - table[head][position]) for end in farthest]
                assert min(ends) >= place
            else:
                assert places_after(fusion, table, head, position, change) < place
                if abs(change) > TINY:
                    assert places_after(fusion, table, head, position, 0.99 * change) >= place


@settings(max_examples=100, deadline=None)
@given(formula=formulas, table=columns)
def test_under_any_formula_without_lists_the_change_moves_the_result_up(formula, table):
    try:
        fusion = fusion_of(formula)
    except FormulaError:
        assume(False)
    assume(not fusion.formula.is_listwise)

    explanation, order = explained(fusion, table)

    moves = explanation.moves
    for place, column in np.argwhere(np.isfinite(moves.absolute)):
        change = moves.absolute[place, column]
        assert places_after(fusion, table, moves.heads[column], order[place], change) < place


@settings(max_examples=60, deadline=None)
@given(function=st.sampled_from(LISTWISE), table=columns)
def test_under_a_function_over_the_list_the_change_moves_the_result_up_too(function, table):
    fusion = fusion_of(f"{function}(c)")
    table = {**table, "c": np.round(table["c"], 2)}

    explanation, order = explained(fusion, table)

    for place, change in enumerate(explanation.moves.absolute[:, 0]):
        if abs(change) > TINY:
            assert places_after(fusion, table, "c", order[place], 1.0001 * change) < place
            assert places_after(fusion, table, "c", order[place], 0.99 * change) >= place


@settings(max_examples=100, deadline=None)
@given(function=st.sampled_from(LISTWISE), data=st.data())
def test_a_held_list_gives_what_the_list_gave(function, data):
    column = np.array(data.draw(st.lists(st.sampled_from([-2.0, 0.0, 1.0, 3.0, np.nan, np.inf]), min_size=1)))

    held = hold(function, column)(column)

    np.testing.assert_allclose(held, compile_formula(f"{function}(c)", {"c"})({"c": column}, len(column)), rtol=1e-12)


def test_the_smaller_of_two_ways_is_given():
    table = {"c": np.array([3.0, 1.0, -2.0])}

    explanation, order = explained(fusion_of("abs(c)"), table)

    assert order.tolist() == [0, 2, 1]
    np.testing.assert_allclose(explanation.moves.absolute[:, 0], [np.nan, -1.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(explanation.moves.relative[:, 0], [np.nan, -0.5, 1.0], atol=1e-9)


def test_a_head_never_leaves_what_its_unit_allows():
    table = {"a": np.array([0.9, 0.8, 0.7]), "b": np.array([10.0, 1.0, 0.0])}

    explanation, _ = explained(fusion_of("a - b / 10 + where(b > 5, 9, 0)"), table)

    assert explanation.moves.heads == ("a", "b")
    assert np.isnan(explanation.moves.absolute[1]).tolist() == [True, False]  # a would have to be 8, b just above 5
    assert explanation.moves.absolute[1, 1] == pytest.approx(4.0)
    assert np.isnan(explanation.moves.relative[2, 1])  # a part of 0 s is no number


def test_fields_and_weights_are_never_moved():
    table = {"a": np.array([0.9, 0.8]), "price": np.array([1.0, 2.0])}

    explanation, _ = explained(fusion_of("w * a / price", {"w": 2.0}), table)

    assert explanation.moves.heads == ("a",)


def test_a_result_without_a_finite_score_moves_up_by_getting_one():
    table = {"c": np.array([-1.0, 2.0, -3.0])}

    explanation, order = explained(fusion_of("log(c)"), table)

    assert order.tolist() == [1, 0, 2]
    assert explanation.moves.absolute[1, 0] == pytest.approx(3.0)
    assert explanation.moves.absolute[2, 0] == pytest.approx(3.0, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(table=columns)
def test_terms_add_up_to_the_score_and_factors_multiply_to_it(table):
    for formula, combine in (("w * a - (0.1 * b - c) + 1", np.sum), ("a * log1p(b) / (2 + a) / 4", np.prod)):
        fusion = fusion_of(formula, {"w": 1.5} if "w" in formula else {})

        explanation, order = explained(fusion, table)

        scores = fusion.score(table, len(order))[0][order]
        np.testing.assert_allclose(combine(explanation.parts.values, axis=1), scores, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("formula", "kind", "texts"),
    [
        ("a - (b - c)", "terms", ("a", "-b", "c")),
        ("2 * a + -(b + rank(c))", "terms", ("2 * a", "-b", "-rank(c)")),
        ("a - b * c", "terms", ("a", "-(b * c)")),
        ("a * (b + c) / 60", "factors", ("a", "b + c", "1 / 60")),
        ("a / (b * c)", "factors", ("a", "1 / b", "1 / c")),
        ("log1p(b)", "terms", ("log1p(b)",)),
        ("a ** 2", "terms", ("a ** 2",)),
        ("a", "terms", ("a",)),
    ],
)
def test_the_text_of_the_formula_decides_the_parts(formula, kind, texts):
    table = {"a": np.array([0.5]), "b": np.array([2.0]), "c": np.array([1.0])}

    parts = explained(fusion_of(formula), table)[0].parts

    assert (parts.kind, parts.texts) == (kind, texts)
    assert parts.values.shape == parts.shares.shape == (1, len(texts))
    assert parts.shares.sum() == pytest.approx(1.0)


def test_a_terms_share_is_its_size_among_all():
    table = {"a": np.array([0.5, 0.0]), "b": np.array([1.0, 0.0]), "c": np.array([-0.5, 0.0])}

    parts = explained(fusion_of("a - b + c"), table)[0].parts

    assert parts.values[1].tolist() == [0.5, -1.0, -0.5]
    assert parts.shares.tolist() == [[0, 0, 0], [0.25, 0.5, 0.25]]


def test_a_factors_share_is_how_far_it_takes_the_score_from_one():
    table = {"a": np.array([0.1, 0.0, 1.0]), "b": np.array([100.0, 5.0, 1.0]), "c": np.array([1.0, 1.0, -1.0])}

    parts = explained(fusion_of("a * b * c"), table)[0].parts

    np.testing.assert_allclose(parts.shares, [[1 / 3, 2 / 3, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.filterwarnings("error")
def test_a_part_that_is_not_finite_leaves_its_results_shares_unknown():
    table = {"a": np.array([0.5, 0.5]), "b": np.array([0.0, 1.0])}

    for formula in ("a + log(b)", "a * log(b)"):
        parts = explained(fusion_of(formula), table)[0].parts

        assert np.isnan(parts.shares).all(axis=1).tolist() == [False, True]


def test_weights_of_the_request_and_the_first_results_alone_are_explained():
    fusion = fusion_of("w * a + c", {"w": 1.0})
    table = {"a": np.array([0.1, 0.2, 0.3]), "c": np.array([0.0, 0.0, -9.0])}

    explanation = explain(fusion, table, 3, np.array([2, 1]), units=UNITS, weights={"w": 1000.0})

    np.testing.assert_allclose(explanation.parts.values, [[300, -9], [200, 0]])
    assert explanation.moves.absolute.shape == (2, 2)
    np.testing.assert_allclose(explanation.moves.absolute[1], [0.091, 91])


def test_no_result_at_all_has_an_empty_explanation():
    explanation = explain(
        fusion_of("a * c"), {"a": np.empty(0), "c": np.empty(0)}, 0, np.empty(0, dtype=np.int64), units=UNITS
    )

    assert explanation.parts.values.shape == (0, 2)
    assert explanation.moves.absolute.shape == (0, 2)
