import numpy as np
import pytest

from service.ranking.measures import joined, measure
from tests.kept import block_of, kept_request

INF = np.inf


def test_one_request_by_hand():
    # Items 11 … 14; before, the order is 11 12 13 14; after, 13 11 12 14.
    block = block_of(kept_request([0.4, 0.3, 0.2, 0.1], items=[11, 12, 13, 14]))
    before, after = np.array([4.0, 3.0, 2.0, 1.0]), np.array([4.0, 3.0, 5.0, 1.0])

    found = measure(block, before, after, top_k=2)

    assert found.overlap.tolist() == [0.5]
    assert found.first_changed.tolist() == [True]
    assert found.tau.tolist() == pytest.approx([(4 - 2) / 6])
    assert found.before.heads["ctr"].tolist() == pytest.approx([0.35])
    assert found.after.heads["ctr"].tolist() == pytest.approx([0.3])
    assert found.entering.tolist() == [13]
    assert found.leaving.tolist() == [12]
    assert (found.before.lowest.tolist(), found.before.highest.tolist()) == ([1.0], [4.0])
    assert (found.after.lowest.tolist(), found.after.highest.tolist()) == ([1.0], [5.0])


def test_a_list_no_longer_than_the_top_k_stays_whole():
    block = block_of(kept_request([0.1, 0.2]))

    found = measure(block, np.array([1.0, 2.0]), np.array([2.0, 1.0]), top_k=10)

    assert found.overlap.tolist() == [1.0]
    assert found.first_changed.tolist() == [True]
    assert (len(found.entering), len(found.leaving)) == (0, 0)


def test_requests_of_a_block_do_not_touch_each_other():
    block = block_of(kept_request([0.1, 0.9]), kept_request([0.5]), kept_request([0.2, 0.3, 0.4]))
    before, after = np.array([2.0, 1.0, 9.0, 3.0, 2.0, 1.0]), np.array([1.0, 2.0, 9.0, 3.0, 2.0, 1.0])

    found = measure(block, before, after, top_k=1)

    assert found.overlap.tolist() == [0.0, 1.0, 1.0]
    assert found.sizes.tolist() == [2, 1, 3]
    assert found.after.heads["ctr"].tolist() == pytest.approx([0.9, 0.5, 0.2])


def test_scores_that_are_not_finite_are_counted_and_kept_out_of_the_range():
    block = block_of(kept_request([0.1, 0.2]), kept_request([0.3]))

    found = measure(block, np.array([-INF, 2.0, -INF]), np.array([1.0, 2.0, 3.0]), top_k=1)

    assert found.before.non_finite.tolist() == [1, 1]
    assert found.after.non_finite.tolist() == [0, 0]
    assert found.before.lowest.tolist() == pytest.approx([2.0, np.nan], nan_ok=True)


def test_a_head_that_is_not_finite_is_left_out_of_its_mean():
    block = block_of(kept_request([np.nan, 0.2, 0.4]), kept_request([np.nan]))

    found = measure(block, np.array([3.0, 2.0, 1.0, 1.0]), np.array([3.0, 1.0, 2.0, 1.0]), top_k=2)

    assert found.before.heads["ctr"].tolist() == pytest.approx([0.2, np.nan], nan_ok=True)
    assert found.after.heads["ctr"].tolist() == pytest.approx([0.4, np.nan], nan_ok=True)


def test_blocks_of_models_with_other_heads_join():
    first = measure(block_of(kept_request([0.1, 0.2])), np.array([1.0, 2.0]), np.array([2.0, 1.0]), top_k=1)
    narrow = kept_request([0.5]).model
    other = measure(block_of(kept_request([0.5])), np.array([1.0]), np.array([1.0]), top_k=1)
    lone = type(other)(**{**vars(other), "units": {"ctr": narrow.heads["ctr"]}})

    both = joined([first, lone])

    assert both.sizes.tolist() == [2, 1]
    assert both.before.heads["ctr"].tolist() == pytest.approx([0.2, 0.5])
    assert set(both.units) == set(narrow.heads)
