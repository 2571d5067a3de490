"""Merging batches keeps every candidate with its own request."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.arrays import GraphInputs, SideArrays


def side(values):
    column = np.array(values, dtype=np.int64).reshape(-1, 1)
    return SideArrays(ids=column, dense=column.astype(np.float32))


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_merging_keeps_each_candidate_with_its_own_request(sizes):
    parts = [GraphInputs.single(side([n]), side([n] * size)) for n, size in enumerate(sizes)]

    merged = GraphInputs.merge(parts)

    assert merged.request.ids[merged.request_index].tolist() == merged.candidate.ids.tolist()
    assert len(merged.candidate) == sum(sizes)
    assert GraphInputs.merge([GraphInputs.merge(parts[:2]), *parts[2:]]).request_index.tolist() == (
        merged.request_index.tolist()
    )
