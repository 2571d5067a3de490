import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.runtime.cost import FIRST_GUESS, Cost, CostModel
from service.runtime.least_squares import Evidence
from tests.simulator import noise

SHAPES = [(60, 1), (500, 1), (2000, 2), (2000, 8)]
COSTS = st.builds(
    Cost, call_s=st.floats(1e-4, 5e-3), row_s=st.floats(1e-6, 1e-4), request_s=st.sampled_from([0.0, 5e-5, 3e-4])
)


def worst_error(model, truth):
    """Give the largest relative error over batches short and long."""
    return max(abs(model.cost.seconds(*shape) / truth.seconds(*shape) - 1) for shape in SHAPES)


def show(model, truth, *, batches, sigma=0.1, seed=0, pause=lambda number: 0.0):
    """Let a model see batches of all lengths."""
    rng, factors = random.Random(seed), noise(sigma, seed + 1)
    for number in range(batches):
        requests = rng.randint(1, 8)
        rows = sum(rng.randint(1, 400) for _ in range(requests))
        seconds = truth.seconds(rows, requests) * next(factors) + pause(number)
        model.observe(rows=rows, requests=requests, seconds=seconds)
    return model


@settings(max_examples=40, deadline=None)
@given(truth=COSTS, seed=st.integers(0, 10_000))
def test_the_model_comes_to_know_the_cost_of_any_graph_through_the_noise(truth, seed):
    model = show(CostModel(), truth, batches=600, seed=seed)

    assert worst_error(model, truth) < 0.2


@settings(max_examples=20, deadline=None)
@given(truth=COSTS)
def test_without_noise_it_knows_each_coefficient(truth):
    model = show(CostModel(), truth, batches=400, sigma=0.0)

    little = 0.01 * truth.seconds(500, 1)
    assert model.cost.call_s == pytest.approx(truth.call_s, abs=little)
    assert model.cost.row_s * 500 == pytest.approx(truth.row_s * 500, abs=little)
    assert model.cost.request_s == pytest.approx(truth.request_s, abs=little)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.integers(1, 64),
            st.floats(0, 1e4) | st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e-300]),
        ),
        max_size=60,
    )
)
@example([(500, 1, 0.005)] * 60)
def test_no_coefficient_is_ever_negative_or_infinite_whatever_is_observed(batches):
    model = CostModel()
    for rows, requests, seconds in batches:
        model.observe(rows=rows, requests=requests, seconds=seconds)

        assert all(0.0 <= part < math.inf for part in (model.cost.call_s, model.cost.row_s, model.cost.request_s))
        assert 1.0 <= model.margin <= 2.0


@pytest.mark.parametrize("pause_s", [0.05, 1.0, 60.0])
def test_a_pause_now_and_then_does_not_move_the_estimate(pause_s):
    truth = Cost(call_s=5e-4, row_s=8e-6, request_s=1e-4)
    calm = show(CostModel(truth), truth, batches=500)

    paused = show(CostModel(truth), truth, batches=500, pause=lambda number: pause_s if number % 20 == 7 else 0.0)

    for shape in SHAPES:
        assert paused.cost.seconds(*shape) == pytest.approx(calm.cost.seconds(*shape), rel=0.05)


@pytest.mark.parametrize("factor", [1 / 1000, 1 / 8, 1 / 1.5, 1.5, 8, 1000])
def test_a_machine_that_becomes_slower_or_faster_is_believed_within_a_few_batches(factor):
    before = Cost(call_s=5e-4, row_s=8e-6, request_s=1e-4)
    after = Cost(call_s=factor * 5e-4, row_s=factor * 8e-6, request_s=factor * 1e-4)
    model = show(CostModel(before), before, batches=500)

    batches = 0
    while worst_error(model, after) > 0.25:
        show(model, after, batches=1, seed=batches)
        batches += 1
        assert batches <= 300, model.cost
    assert batches <= (10 if max(factor, 1 / factor) > 2 else 300)


def test_what_the_traffic_never_shows_keeps_the_value_that_was_measured():
    truth = Cost(call_s=2e-3, row_s=8e-6, request_s=1e-4)
    model = CostModel(truth)

    rng = random.Random(0)
    for factor, _ in zip(noise(0.1), range(2000), strict=False):
        rows = rng.randint(480, 520)
        model.observe(rows=rows, requests=1, seconds=factor * truth.seconds(rows, 1))

    assert worst_error(model, truth) < 0.25


def test_the_margin_covers_99_of_100_batches():
    truth = Cost(call_s=5e-4, row_s=8e-6, request_s=1e-4)
    model = show(CostModel(truth), truth, batches=4000)

    beyond = sum(factor > model.margin for factor, _ in zip(noise(0.1, 77), range(4000), strict=False)) / 4000
    assert beyond < 0.05
    assert model.margin < 1.5


def test_the_margin_of_a_steady_machine_is_small():
    assert show(CostModel(FIRST_GUESS), FIRST_GUESS, batches=300, sigma=0.0).margin < 1.01


VECTORS = st.tuples(*[st.floats(0.01, 1.0)] * 3)


@settings(max_examples=200, deadline=None)
@given(observations=st.lists(st.tuples(VECTORS, st.floats(-1, 1)), min_size=4, max_size=12), other=VECTORS)
def test_the_solution_is_the_best_that_is_not_negative(observations, other):
    """No other corner point has a smaller squared error: not one at random, not one beside it."""
    evidence = Evidence(3)
    for unit in ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1)):
        evidence.add(unit, 0.0)
    for shape, target in observations:
        evidence.add(shape, target)
    best = evidence.solve()

    def error(x):
        fits = sum((target - sum(a * b for a, b in zip(shape, x, strict=True))) ** 2 for shape, target in observations)
        return fits + 0.01 * sum(part * part for part in x)

    beside = [
        [max(0.0, part + (step if place == moved else 0.0)) for place, part in enumerate(best)]
        for moved in range(3)
        for step in (-1e-3, 1e-3)
    ]
    assert min(best) >= 0.0
    for point in [other, [0.0, 0.0, 0.0], *beside]:
        assert error(best) <= error(point) + 1e-9
