"""The formula language, against an oracle that walks the tree one candidate at a time."""

import ast
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import FormulaError
from contract.formula import MAX_LENGTH, compile_formula

NAN, INF = math.nan, math.inf
LISTWISE = ("rank", "zscore", "minmax", "softmax")
values = st.sampled_from([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, NAN, INF, -INF])
columns = st.integers(1, 7).flatmap(
    lambda n: st.fixed_dictionaries({name: st.lists(values, min_size=n, max_size=n) for name in "ab"})
)
# Dyadic numbers: every rounding is the same, so that ties and comparisons are too.
exact = st.recursive(
    st.sampled_from(["a", "b", "0", "2", "-1", "0.5"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "<", ">=", "=="]), inner),
        st.builds("({} / {})".format, inner, st.sampled_from(["4", "0"])),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner),
        st.builds("abs({})".format, inner),
        st.builds("where({}, {}, {})".format, inner, inner, inner),
        st.builds("-{}".format, inner),
    ),
    max_leaves=6,
)
listwise = st.builds("{}({})".format, st.sampled_from(LISTWISE), exact)
formulas = st.one_of(exact, listwise, st.builds("{} - {}".format, listwise, exact))


def oracle(node, table, row):
    """The value of one candidate, in plain Python but for IEEE arithmetic on one number."""
    if isinstance(node, ast.Constant):
        return np.float64(node.value)
    if isinstance(node, ast.Name):
        return np.float64(table[node.id][row])
    if isinstance(node, ast.UnaryOp):
        return -oracle(node.operand, table, row)
    if isinstance(node, ast.Call):
        return oracle_call(node, table, row)
    compared = isinstance(node, ast.Compare)
    left = oracle(node.left, table, row)
    right = oracle(node.comparators[0] if compared else node.right, table, row)
    symbol = type(node.ops[0] if compared else node.op).__name__
    return np.float64(
        {
            "Add": lambda: left + right,
            "Sub": lambda: left - right,
            "Mult": lambda: left * right,
            "Div": lambda: left / right,
            "Lt": lambda: left < right,
            "GtE": lambda: left >= right,
            "Eq": lambda: left == right,
        }[symbol]()
    )


def oracle_call(node, table, row):
    name = node.func.id
    if name in LISTWISE:
        everyone = [float(oracle(node.args[0], table, other)) for other in range(len(table["a"]))]
        return oracle_listwise(name, everyone[row], [x for x in everyone if math.isfinite(x)])
    args = [oracle(argument, table, row) for argument in node.args]
    if name == "where":
        return args[1] if args[0] != 0 else args[2]
    if name == "abs":
        return abs(args[0])
    return np.float64(NAN) if any(math.isnan(x) for x in args) else (min if name == "min" else max)(args)


def oracle_listwise(name, x, others):
    if not math.isfinite(x):
        return NAN
    if name == "rank":
        beaten = sum(y < x for y in others) + (sum(y == x for y in others) - 1) / 2
        return beaten / (len(others) - 1) if len(others) > 1 else 1.0
    if name == "softmax":
        return math.exp(x - max(others)) / math.fsum(math.exp(y - max(others)) for y in others)
    if min(others) == max(others):
        return 0.0
    if name == "minmax":
        return (x - min(others)) / (max(others) - min(others))
    mean = math.fsum(others) / len(others)
    return (x - mean) / math.sqrt(math.fsum((y - mean) ** 2 for y in others) / len(others))


@settings(max_examples=150, deadline=None)
@given(text=formulas, table=columns)
def test_a_formula_gives_what_its_text_says_for_each_candidate(text, table):
    size = len(table["a"])
    with np.errstate(all="ignore"):
        expected = [float(oracle(ast.parse(text, mode="eval").body, table, row)) for row in range(size)]

    scores = compile_formula(text, {"a", "b"})(table, size)

    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("function", LISTWISE)
@pytest.mark.parametrize("broken", [NAN, INF, -INF])
def test_a_candidate_without_a_finite_value_does_not_disturb_the_others(function, broken):
    run = compile_formula(f"{function}(a)", {"a"})

    scores = run({"a": [3.0, broken, 1.0, 2.0]}, 4)

    assert math.isnan(scores[1])
    assert scores[[0, 2, 3]].tolist() == run({"a": [3.0, 1.0, 2.0]}, 3).tolist()


@pytest.mark.parametrize(("function", "alone"), [("rank", 1), ("zscore", 0), ("minmax", 0), ("softmax", 1)])
def test_a_list_of_one_has_a_defined_answer(function, alone):
    run = compile_formula(f"{function}(a)", {"a"})

    assert run({"a": [7.5]}, 1).tolist() == [alone]
    assert run({"a": []}, 0).tolist() == []


def test_equal_values_have_a_zscore_of_nought():
    assert compile_formula("zscore(a)", {"a"})({"a": [0.1] * 3}, 3).tolist() == [0, 0, 0]


def test_rank_gives_one_to_the_best_and_ties_their_mean():
    assert compile_formula("rank(a)", {"a"})({"a": [1, 5, 5, 9]}, 4).tolist() == [0, 0.5, 0.5, 1]


NASTY = [
    "", " ", "\0", "1" * 1999, "9" * 5000, "0x" + "f" * 1500, "1e999 * a", "(" * 300 + "a" + ")" * 300,
    "-" * 1500 + "a",
    "a" + "+a" * 900, "1j", "True", "None", "...", "'\\ud800'", "\ud800", "b'x'", "f'{a}'", "a.real", "a[0]", "[a]",
    "lambda: a", "a if a else a", "a and a", "(a := 1)", "log(*a)", "log(x=a)", "log", "log()", "log(a, a)",
    "log(a)(a)",
    "__import__('os')", "a // a", "a % a", "a << 1", "~a", "not a", "a < a < a", "a in a", "await a", "yield", "{a}",
    "a\nb", "a; a", "a = 1", "clip(a)", "c", "rank(rank)", "2 ** 10 ** 10",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    text=st.one_of(
        st.sampled_from(NASTY),
        st.text(max_size=60),
        st.lists(st.sampled_from([*"ab(),+-*/<>=!. ", "1e308", "log", "rank", "where"]), max_size=25).map("".join),
    )
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_any_text_either_runs_or_is_refused_as_a_formula(text):
    try:
        formula = compile_formula(text, {"a", "b"})
    except FormulaError as error:
        assert (error.code, error.path) == ("invalid_formula", "/formula")
        assert error.fix
        return
    assert formula({"a": [1.0, 2.0], "b": 3.0}, 2).shape == (2,)


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_nothing_but_arithmetic_gets_through(text):
    if text in ("1e999 * a", "2 ** 10 ** 10"):
        assert compile_formula(text, {"a"})({"a": [1.0]}, 1).tolist() == [INF]
        return
    with pytest.raises(FormulaError):
        compile_formula(text, {"a"})


def test_a_misspelt_name_is_answered_with_the_likely_one():
    with pytest.raises(FormulaError) as refused:
        compile_formula("1 + durration", {"duration", "ctr"})

    assert "character 5" in refused.value.detail
    assert "'duration'" in refused.value.fix


def test_a_formula_that_is_too_long_is_refused():
    with pytest.raises(FormulaError, match="characters"):
        compile_formula("a" * (MAX_LENGTH + 1), {"a"})
