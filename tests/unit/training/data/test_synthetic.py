"""Pairs of tasks whose relation is what was asked for."""

import numpy as np
import pytest

from training.data.synthetic import DRAWN_WAVES, FEW_WAVES, NOISE_STD, TASKS, TaskPair, encode, schema


def test_the_labels_are_what_the_papers_equation_gives():
    """y_k = w_k·x + sum_i sin(alpha_i w_k·x + beta_i), worked out by hand for two columns."""
    pair = TaskPair(
        weights=np.array([[1.0, 0.0], [0.6, 0.8]]), frequencies=np.array([2.0, 4.0]), phases=np.array([0.5, 1.0])
    )
    x = np.array([[0.3, -1.0]])

    first, second = pair.truth(x)[0]

    assert first == pytest.approx(0.3 + np.sin(2 * 0.3 + 0.5) + np.sin(4 * 0.3 + 1.0))
    along = 0.6 * 0.3 - 0.8
    assert second == pytest.approx(along + np.sin(2 * along + 0.5) + np.sin(4 * along + 1.0))


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.5, 1.0])
def test_the_cosine_of_the_directions_is_the_correlation_and_their_length_the_scale(correlation):
    first, second = TaskPair.draw(correlation, seed=3, width=17, scale=0.4).weights

    assert np.linalg.norm(first) == pytest.approx(0.4)
    assert np.linalg.norm(second) == pytest.approx(0.4)
    assert first @ second == pytest.approx(0.4 * 0.4 * correlation)


def test_a_seed_gives_the_same_first_task_at_every_correlation():
    """Otherwise a gap between correlations would also be one between draws."""
    one, other = (TaskPair.draw(correlation, seed=5, width=9) for correlation in (0.1, 0.9))

    np.testing.assert_allclose(one.weights[0], other.weights[0])
    np.testing.assert_array_equal(one.frequencies, other.frequencies)
    np.testing.assert_array_equal(one.phases, other.phases)


@pytest.mark.parametrize("waves", [FEW_WAVES, None])
def test_labels_agree_more_the_more_the_directions_do_and_all_but_noise_at_1(waves):
    found = []
    for correlation in (0.0, 0.5, 0.9, 1.0):
        _, y = TaskPair.draw(correlation, seed=1, waves=waves).sample(20_000, np.random.default_rng(0))
        found.append(np.corrcoef(y.T)[0, 1])

    assert found == sorted(found)
    assert abs(found[0]) < 0.05
    assert found[-1] > 0.98


def test_waves_are_drawn_anew_by_every_seed_and_only_where_none_are_given():
    drawn = [TaskPair.draw(0.5, seed=seed) for seed in (0, 1)]
    given = TaskPair.draw(0.5, seed=0, waves=FEW_WAVES)

    assert all(len(pair.frequencies) == DRAWN_WAVES for pair in drawn)
    assert not np.allclose(drawn[0].frequencies, drawn[1].frequencies)
    np.testing.assert_array_equal(given.frequencies, [2.0, 4.0])
    np.testing.assert_array_equal(given.phases, [0.5, 1.0])


def test_noise_has_the_papers_standard_deviation():
    pair = TaskPair.draw(0.5, seed=0, waves=FEW_WAVES)
    x, y = pair.sample(50_000, np.random.default_rng(0))

    assert (y - pair.truth(x)).std(axis=0) == pytest.approx([NOISE_STD, NOISE_STD], rel=0.02)


def test_every_row_is_a_list_of_its_own_with_its_numbers_on_the_candidate():
    x, y = np.arange(6.0).reshape(2, 3), np.array([[1.0, 2.0], [3.0, 4.0]])

    split = encode(x, y)

    assert (split.num_requests, split.num_rows) == (2, 2)
    np.testing.assert_array_equal(split.candidate.dense, x)
    np.testing.assert_array_equal(split.labels[TASKS[1].name], [2.0, 4.0])
    assert len(schema(3).numbers_on("candidate")) == 3
