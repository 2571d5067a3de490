"""Label relations against values worked out by hand."""

import numpy as np
import pytest

from training.comparing.relations import label_facts, relations, smallest_side
from training.data.format import LabelDeclaration

NAN = float("nan")
CLICK = LabelDeclaration(name="click", kind="binary")
LIKE = LabelDeclaration(name="like", kind="binary")
SECONDS = LabelDeclaration(name="seconds", kind="duration", given="click")


def test_pearson_spearman_and_containment_of_two_events():
    """Four of each corner: both 3, click alone 1, like alone 1, neither 3, of 8 rows."""
    labels = {
        "click": np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=np.float32),
        "like": np.array([1, 1, 1, 0, 1, 0, 0, 0], dtype=np.float32),
    }

    [pair] = relations(labels, [CLICK, LIKE])

    # Of a table of 3, 1, 1 and 3: nine less one, over sixteen.
    assert pair.pearson == pytest.approx(0.5)
    assert pair.spearman == pytest.approx(0.5)
    assert pair.first_given_second == pytest.approx(3 / 4)
    assert pair.second_given_first == pytest.approx(3 / 4)


def test_containment_is_told_apart_by_direction():
    """Every like is a click, but not the other way round."""
    labels = {"click": np.array([1.0, 1, 1, 1, 0]), "like": np.array([1.0, 0, 0, 0, 0])}

    [pair] = relations(labels, [CLICK, LIKE])

    assert pair.first_given_second == 1.0
    assert pair.second_given_first == 0.25


def test_only_rows_where_both_are_defined_count():
    labels = {
        "like": np.array([0.0, 1.0, 1.0, NAN, 0.0]),
        "seconds": np.array([1.0, 2.0, 6.0, 100.0, NAN]),
    }

    [pair] = relations(labels, [LIKE, SECONDS])

    assert pair.rows == 3
    # like 0 1 1 and seconds 1 2 6: covariance 1 over sqrt(2/3 * 14)
    assert pair.pearson == pytest.approx(2 / np.sqrt((2 / 3) * 14))
    # ranks 1 2.5 2.5 and 1 2 3
    assert pair.spearman == pytest.approx(1.5 / np.sqrt(1.5 * 2))
    assert pair.first_given_second is None


def test_a_label_that_is_constant_where_its_consequence_is_defined_has_no_correlation():
    """A duration is defined on clicks alone: the correlation of the two is no number, and is not called 0."""
    labels = {"click": np.array([1.0, 0, 1]), "seconds": np.array([3.0, NAN, 9.0])}

    [pair] = relations(labels, [CLICK, SECONDS])

    assert (pair.rows, pair.pearson, pair.spearman) == (2, None, None)


def test_two_labels_that_are_never_defined_together_are_related_by_nothing():
    labels = {"click": np.array([1.0, NAN]), "like": np.array([NAN, 1.0])}

    [pair] = relations(labels, [CLICK, LIKE])

    assert pair.rows == 0
    assert {pair.pearson, pair.spearman, pair.first_given_second, pair.second_given_first} == {None}


def test_rates_are_over_the_rows_that_have_the_label():
    labels = {"click": np.array([1.0, 0, 0, 0]), "seconds": np.array([8.0, NAN, NAN, NAN])}

    click, seconds = label_facts(labels, [CLICK, SECONDS])

    assert (click.mean, click.defined, click.given) == (0.25, 1.0, None)
    assert (seconds.mean, seconds.defined, seconds.given) == (8.0, 0.25, "click")


def test_the_smallest_side_is_the_rarer_class_or_the_rows_of_an_amount():
    labels = {"click": np.array([1.0, 1, 1, 0, NAN]), "seconds": np.array([8.0, 2.0, NAN, NAN, NAN])}

    assert smallest_side(labels, [CLICK, SECONDS]) == {"click": 1, "seconds": 2}
