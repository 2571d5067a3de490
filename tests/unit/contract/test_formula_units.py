"""Units: what cannot be meant is warned of when a formula is written, and never refused."""

import pytest

from contract.errors import FormulaError
from contract.formula import check_units, compile_formula

UNITS = {
    "ctr": "probability",
    "cvr": "probability",
    "duration_seconds": "seconds",
    "log_duration": "log_seconds",
    "comments": "count",
    "rating": "value",
    "price": None,
}


@pytest.mark.parametrize(
    "text",
    [
        "ctr * log(duration_seconds)",
        "w1*ctr + w2*log1p(duration_seconds)",
        "w1*ctr + w2*duration_seconds",
        "ctr + log1p(duration_seconds) + rank(duration_seconds) + zscore(duration_seconds) + minmax(duration_seconds)",
        "ctr + log_duration + comments + rating + price",
        "log(ctr + cvr) + log(ctr * cvr)",
        "ctr * cvr * (1 + duration_seconds)",
        "log(1 + duration_seconds) * max(ctr, 0.01)",
        "duration_seconds > 30",
        "(duration_seconds > 30) * ctr + (ctr < cvr)",
        "where(duration_seconds > 30, ctr, 0.5 * ctr)",
        "where((ctr > 0.1) * (cvr > 0.1), 1, 0) * price",
        "where(1 - (ctr > 0.1), ctr, cvr)",
        "where(price, ctr, cvr)",
        "where(max(ctr > 0.5, cvr > 0.5), ctr, cvr)",
        "ctr ** w1 * duration_seconds ** w2",
        "ctr + duration_seconds / 60 / w + duration_seconds / max(duration_seconds, 1)",
        "sqrt(duration_seconds * duration_seconds) + duration_seconds",
        "duration_seconds ** 2 / pow(duration_seconds, 2) + ctr",
        "sigmoid(w * ctr + b) + sigmoid(log_duration) + softmax(ctr)",
        "exp(log_duration) + duration_seconds",
        "exp(ctr) + pow(ctr, 2) + 2 ** log_duration",
        "clip(duration_seconds, 0, 600) - min(duration_seconds, price)",
        "abs(-duration_seconds) + duration_seconds",
    ],
)
def test_what_may_be_meant_is_not_warned_of(text):
    assert check_units(text, UNITS) == ()


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("ctr + duration_seconds", 1, "adds a probability and seconds"),
        ("w * (ctr - duration_seconds)", 6, "subtracts a probability and seconds"),
        ("0.1 * duration_seconds + ctr", 1, "adds seconds and a probability"),
        ("1 + log1p(duration_seconds) + duration_seconds", 1, "adds a logarithm of seconds and seconds"),
        ("rank(ctr) + duration_seconds", 1, "adds a number without a unit and seconds"),
        ("1 - ctr > duration_seconds", 1, "compares a probability and seconds"),
        ("min(ctr, w, duration_seconds)", 1, "takes the min of a probability and seconds"),
        ("max(duration_seconds, 1 - ctr)", 1, "takes the max of seconds and a probability"),
        ("clip(ctr, 0, duration_seconds)", 1, "clips a probability and seconds"),
        ("where(ctr > 0.5, duration_seconds, cvr)", 1, "chooses between seconds and a probability"),
        ("duration_seconds + duration_seconds ** 2", 1, "adds seconds and seconds to the power of 2"),
        ("duration_seconds + 1 / duration_seconds", 1, "adds seconds and seconds to the power of -1"),
        ("duration_seconds + sqrt(duration_seconds)", 1, "seconds to the power of 0.5"),
        ("exp(log_duration) + ctr", 1, "adds seconds and a probability"),
        ("ctr * log(log_duration)", 7, "logarithm of a logarithm"),
        ("log1p(log1p(duration_seconds))", 1, "logarithm of a logarithm"),
        ("exp(duration_seconds)", 1, "exponential of seconds"),
        ("softmax(duration_seconds)", 1, "exponential of seconds"),
        ("sigmoid(2 * duration_seconds)", 1, "exponential of seconds"),
        ("sigmoid(ctr)", 1, "sigmoid of a probability"),
        ("sigmoid(ctr * (1 - cvr))", 1, "sigmoid of a probability"),
        ("sigmoid(where(ctr > 0.1, ctr, cvr))", 1, "sigmoid of a probability"),
        ("ctr ** duration_seconds", 1, "raises a probability to seconds"),
        ("pow(2, duration_seconds)", 1, "raises a number without a unit to seconds"),
        ("where(ctr, cvr, 0)", 1, "never a comparison but a probability"),
        ("where(ctr * duration_seconds, cvr, 0)", 1, "never a comparison but seconds"),
        ("\n  ctr +\n  sigmoid(ctr)", 12, "sigmoid of a probability"),
    ],
)
def test_what_is_probably_not_meant_is_warned_of_where_it_stands_and_how_to_mend_it(text, position, said):
    (warning,) = check_units(text, UNITS)

    assert said in warning.detail
    assert warning.position == position
    assert warning.fix


def test_every_odd_part_has_its_warning_in_the_order_of_the_text():
    warnings = check_units("sigmoid(ctr) * (ctr + duration_seconds) * exp(duration_seconds)", UNITS)

    assert [warning.position for warning in warnings] == [1, 17, 43]


def test_one_odd_sum_is_not_warned_of_again_by_what_is_around_it():
    for around in (
        "ctr + duration_seconds + cvr",
        "ctr + duration_seconds + duration_seconds",
        "exp(ctr + duration_seconds)",
    ):
        assert len(check_units(around, UNITS)) == 1


def test_a_weight_takes_the_unit_that_it_is_added_to():
    assert len(check_units("w + duration_seconds + ctr", UNITS)) == 1
    assert check_units("w + duration_seconds", UNITS) == ()


def test_a_compiled_formula_is_checked_as_its_text_is():
    formula = compile_formula("ctr + duration_seconds", set(UNITS))

    assert check_units(formula, UNITS) == check_units(formula.text, UNITS)


def test_what_can_never_be_right_is_an_error_and_no_warning():
    with pytest.raises(FormulaError, match="divides by 0"):
        check_units("ctr / 0", UNITS)


def test_a_long_part_is_named_by_its_beginning():
    (warning,) = check_units(f"{' + '.join(['ctr'] * 40)} + duration_seconds", UNITS)

    assert len(warning.detail) < 130
    assert "ctr…` adds" in warning.detail
