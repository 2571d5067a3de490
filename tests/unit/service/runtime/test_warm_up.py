import pytest

from service.runtime.cost import Cost
from service.runtime.warm_up import measure_cost
from tests.factories import tiny_inputs
from tests.fakes import FakeRuntime, ManualClock

TRUTH = Cost(call_s=4e-4, row_s=7e-6, request_s=2e-4)


class Timed(FakeRuntime):
    """Takes what the truth says, on a manual clock, and three times as long at its first call of a size."""

    def __init__(self):
        super().__init__()
        self.clock = ManualClock()
        self.sizes = []

    def run(self, inputs):
        size = len(inputs.request_index), len(inputs.request)
        self.clock.advance(TRUTH.seconds(*size) * (1 if size in self.sizes else 3))
        self.sizes.append(size)
        return super().run(inputs)


def measure(golden, **settings):
    graph = Timed()
    return measure_cost(graph.run, golden, clock=graph.clock, **settings), graph


def test_a_graph_is_timed_at_load_so_that_the_first_requests_are_judged_by_what_it_costs_here():
    model, _ = measure(tiny_inputs(3), max_batch_rows=2048)

    for rows, requests in ((1, 1), (500, 1), (2048, 1), (2048, 16)):
        assert model.cost.seconds(rows, requests) == pytest.approx(TRUTH.seconds(rows, requests), rel=0.05)


def test_no_call_of_the_warm_up_is_longer_than_a_batch_may_be():
    _, graph = measure(tiny_inputs(3), max_batch_rows=40)

    assert max(rows for rows, _ in graph.sizes) == 40


@pytest.mark.parametrize("max_batch_rows", [1, 2])
def test_batches_of_one_row_can_be_timed_too(max_batch_rows):
    model, _ = measure(tiny_inputs(1), max_batch_rows=max_batch_rows)

    assert model.cost.seconds(1, 1) == pytest.approx(TRUTH.seconds(1, 1), rel=0.5)
