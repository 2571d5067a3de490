from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.fusion import LearnedProfile, compile_fusion
from service.ranking.blocks import Block, parts_of
from service.ranking.preview import NO_SUCH_FIELD
from tests.kept import TINY, WITH_SEGMENTS, block_of, formula, job, kept_request, preview_of

PROBABILITIES = st.integers(1, 1_023).map(lambda part: part / 1_024)  # exact in float32
REQUESTS = st.lists(st.lists(PROBABILITIES, min_size=2, max_size=30, unique=True), min_size=1, max_size=12)


def requests_of(rows):
    return [kept_request(row, price=np.arange(len(row)) + 1.0) for row in rows]


@given(REQUESTS, st.integers(1, 40))
def test_the_formula_in_force_changes_nothing(rows, top_k):
    found = preview_of("2 * ctr", "2 * ctr", requests_of(rows), top_k=top_k)

    assert (found.change.top_k_overlap, found.change.first_changed) == (1.0, 0.0)
    assert found.change.kendall_tau == pytest.approx(1.0)
    assert all(head.change == 0 for head in found.change.heads)
    assert found.entering == found.leaving == ()


@given(REQUESTS)
def test_a_reversed_formula_reverses_every_list(rows):
    found = preview_of("ctr", "0 - ctr", requests_of(rows), top_k=1)

    assert found.change.kendall_tau == pytest.approx(-1.0)
    assert (found.change.top_k_overlap, found.change.first_changed) == (0.0, 1.0)


@given(REQUESTS, st.integers(1, 10))
def test_a_transform_that_keeps_the_order_changes_nothing_but_the_scores(rows, top_k):
    found = preview_of("ctr", "3 * ctr + 100", requests_of(rows), top_k=top_k)

    assert found.change.top_k_overlap == 1.0
    assert found.change.kendall_tau == pytest.approx(1.0)
    assert all(head.change == 0 for head in found.change.heads)
    assert found.change.score_range[1][0] > 100


@given(REQUESTS, st.integers(1, 100))
def test_how_requests_are_cut_into_parts_changes_no_number(rows, most):
    requests = requests_of(rows)

    cut = preview_of("ctr", "price * ctr", requests, top_k=3, rows=most)
    whole = preview_of("ctr", "price * ctr", requests, top_k=3)

    assert (cut.change.top_k_overlap, cut.change.kendall_tau) == pytest.approx(
        (whole.change.top_k_overlap, whole.change.kendall_tau)
    )
    assert cut.entering == whole.entering


def test_parts_hold_every_request_once_and_no_more_candidates_than_asked():
    sizes = [5, 3, 8, 20, 1, 1, 7]
    requests = [kept_request([0.5] * size, model=model) for size in sizes for model in (TINY, WITH_SEGMENTS)]

    parts = list(parts_of(requests, rows=10))

    assert sorted(size for part in parts for size in part.sizes) == sorted(2 * sizes)
    assert all(sum(part.sizes) <= 10 or len(part.sizes) == 1 for part in parts)


def test_a_listwise_function_sees_one_request_at_a_time():
    requests = [kept_request([0.1, 0.2]), kept_request([0.8, 0.9, 0.7])]
    fusion = compile_fusion(formula("rank(ctr)"), TINY.variables)

    assert block_of(*requests).scores(fusion).tolist() == [0.0, 1.0, 0.5, 1.0, 0.0]


def test_a_formula_reads_the_numbers_of_request_and_candidates():
    request = kept_request([0.5, 0.5], price=[2.0, 3.0], hour=7.0)
    fusion = compile_fusion(formula("hour * price * ctr"), TINY.variables)

    assert block_of(request).scores(fusion).tolist() == [7.0, 10.5]


def test_a_policy_of_failing_is_counted_and_ends_nothing():
    strict = formula("log(price - 1)").model_copy(update={"non_finite": "fail"})
    requests = [kept_request([0.1, 0.2], price=[1.0, 3.0]), kept_request([0.1, 0.2], price=[2.0, 3.0])]

    found = preview_of("ctr", strict, requests)

    assert found.change.non_finite == (0, 1)
    assert found.change.hit_requests == (0, 1)


def test_segments_are_of_the_named_field_and_a_version_without_it_is_told_apart():
    requests = [
        kept_request([0.1, 0.2], model=WITH_SEGMENTS, segments=("phone", "0a")),
        kept_request([0.1, 0.2], model=WITH_SEGMENTS, segments=("tv", "0b")),
        kept_request([0.1, 0.2], model=WITH_SEGMENTS, segments=("phone", "0c")),
        kept_request([0.1, 0.2], model=replace(TINY, version=0)),
    ]

    found = preview_of("ctr", "0 - ctr", requests, segment_by="device")

    assert {each.value: each.change.requests for each in found.segments} == {"phone": 2, "tv": 1, NO_SUCH_FIELD: 1}


def test_ages_are_those_of_what_was_ranked_again():
    found = preview_of("ctr", "price", [kept_request([0.1], age=age) for age in (5.0, 60.0, 2.0)])

    assert (found.newest_s, found.oldest_s) == (2.0, 60.0)


def test_when_time_is_up_the_answer_is_of_what_is_done():
    requests = [kept_request([0.1, 0.2]) for _ in range(10)]
    taken = []

    def parts():
        for part in parts_of(requests, rows=2):
            taken.append(part)
            yield part

    found = job("ctr", "0 - ctr", requests=requests, budget_s=0.0)(parts())

    assert found.change.requests == 1
    assert len(taken) == 1


def test_nothing_to_rank_again_is_no_preview():
    assert job("ctr", "price", requests=[])([]) is None


def test_a_learned_profile_says_that_it_needs_a_compiler_of_its_own():
    learned = LearnedProfile(model="fused", version=1)

    with pytest.raises(Exception, match="learned"):
        job("ctr", learned, requests=[kept_request([0.1])])(parts_of([kept_request([0.1])]))


def test_a_block_lays_numbers_out_as_they_were_packed():
    block = Block.of(next(parts_of([kept_request([0.25, 0.5], items=[7, 8]), kept_request([0.75], items=[9])])), TINY)

    assert block.heads.tolist() == [[0.25, 0.5, 0.75], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert block.items.tolist() == [7, 8, 9]
    assert block.lists.offsets.tolist() == [0, 2, 3]
