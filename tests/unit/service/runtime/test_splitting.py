import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.runtime.splitting import join, split
from tests.simulator import TRUE_COST, Customer, PretendedGraph, inputs_of


@settings(deadline=None)
@given(rows=st.integers(1, 500), max_rows=st.integers(1, 120))
def test_a_list_is_cut_into_as_few_parts_as_fit_and_its_answers_come_back_in_order(rows, max_rows):
    graph = PretendedGraph(TRUE_COST, iter(lambda: 1.0, None))
    inputs = inputs_of(7, Customer(arrives=0.0, rows=rows))

    parts = split(inputs, max_rows)

    lengths = [len(part.request_index) for part in parts]
    assert len(parts) == -(-rows // max_rows)
    assert max(lengths) <= max_rows
    assert max(lengths) - min(lengths) <= 1
    joined = join([graph.run(part) for part in parts])
    np.testing.assert_array_equal(joined["score"], graph.run(inputs)["score"])
