"""The ranker offers its requests, and what is kept scores as the request itself did."""

import asyncio
import timeit
from dataclasses import replace

import numpy as np
import pytest

from contract.errors import EncodingError, ScoreError
from contract.fusion import FusionProfile, compile_fusion
from service.ports import Assignment
from service.ranking.blocks import Block, parts_of
from service.ranking.ranker import Ranker
from service.ranking.reservoir import Reservoir
from tests.fakes import FakeCatalog, FakeModel, ManualClock, Recorder
from tests.unit.service.ranking.test_ranker import QUERY, FakeFusions

ITEMS = {"i1": {"price": 9.0}, "i3": {"price": 3.5}}
BY_ID = replace(QUERY, candidates={"topic": ["a", "b", "c"]})


def ranked(*queries, formula="ctr", non_finite="bottom", model=None):
    """Rank each query, refused or not; give the results and what was kept."""
    fusions, reservoir = FakeFusions(formula), Reservoir(max_requests=10, max_rows=100, clock=ManualClock())
    fusions.profile = FusionProfile(formula=formula, non_finite=non_finite)
    ranker = Ranker(
        catalog=FakeCatalog(model or FakeModel(items=ITEMS)),
        fusions=fusions,
        observer=Recorder(),
        clock=ManualClock(),
        sampler=reservoir,
    )
    results = []
    for query in queries:
        try:
            results.append(asyncio.run(ranker.rank(query)))
        except (ScoreError, EncodingError):
            results.append(None)
    reservoir.settle()
    return results, sorted(reservoir.snapshot().requests, key=lambda request: request.taken_at)


@pytest.mark.parametrize(
    "formula", ["ctr * log1p(duration_seconds)", "hour * price + ctr", "rank(price) - minmax(ctr)"]
)
@pytest.mark.parametrize("query", [QUERY, BY_ID, replace(BY_ID, request={})], ids=["inline", "by id", "defaults"])
def test_what_is_kept_scores_bit_for_bit_as_the_request_did(formula, query):
    (result,), (kept,) = ranked(query, formula=formula)

    block = Block.of(next(parts_of([kept])), kept.model)
    scores = block.scores(compile_fusion(FusionProfile(formula=formula), kept.model.variables))

    assert scores[result.order].tolist() == result.scores.tolist()


def test_a_request_whose_scores_are_refused_is_kept_too():
    results, kept = ranked(QUERY, formula="log(0 - price)", non_finite="fail")

    assert results == [None]
    assert len(kept) == 1


def test_a_request_that_is_wrong_is_not_kept():
    _, kept = ranked(replace(QUERY, request={"hour": "late"}), QUERY)

    assert len(kept) == 1


def test_without_a_sampler_requests_are_ranked_all_the_same():
    ranker = Ranker(
        catalog=FakeCatalog(FakeModel()), fusions=FakeFusions("price"), observer=Recorder(), clock=ManualClock()
    )

    assert asyncio.run(ranker.rank(QUERY)).order.tolist() == [1, 2, 0]


def test_passing_over_a_request_costs_less_than_fusing_it():
    reservoir = Reservoir(max_requests=1, max_rows=1_000, clock=ManualClock())
    heads = {name: np.full(100, 0.5, dtype=np.float32) for name in ("ctr", "duration_seconds", "log_duration")}
    offered = {
        "model": FakeModel(),
        "request": replace(QUERY, item_ids=[f"i{number}" for number in range(100)], candidates={}),
        "by": Assignment(model=None, profile="default", weights={}),
        "heads": heads,
        "stored": {},
    }
    for _ in range(2_000):  # now hardly any is lucky enough
        reservoir.offer(**offered)
        reservoir.settle()
    fusion = compile_fusion(FusionProfile(formula="ctr * log1p(duration_seconds)"), dict.fromkeys(heads, "head"))

    passing = min(timeit.repeat(lambda: reservoir.offer(**offered), number=500, repeat=20))
    fusing = min(timeit.repeat(lambda: fusion.score(heads, 100), number=500, repeat=20))

    assert passing < fusing
