import asyncio
from dataclasses import replace

import numpy as np
import pytest

from contract.errors import EncodingError
from contract.fusion import FusionProfile, compile_fusion
from service.errors import InvalidField, Overloaded, UnknownModel
from service.ports import InForce
from service.ranking.query import RankQuery
from service.ranking.ranker import Ranker
from tests.fakes import FakeCatalog, FakeModel, ManualClock, Recorder

QUERY = RankQuery(
    item_ids=["i1", "i2", "i3"],
    request={"hour": 20.0},
    candidates={"topic": ["a", "b", "c"], "price": [1.0, 4.0, 2.0]},
)


class FakeFusions:
    """One profile, which a test may change at any moment."""

    def __init__(self, formula, **weights):
        self.revision = 0
        self.put(formula, **weights)

    def put(self, formula, **weights):
        self.revision += 1
        self.profile = FusionProfile(formula=formula, weights=weights)

    def current(self, profile_name, model):
        fusion = compile_fusion(self.profile, model.manifest.formula_variables())
        return InForce(profile=profile_name, revision=self.revision, variant="base", fusion=fusion)


def rank(query=QUERY, *, model=None, fusions=None, observer=None, clock=None):
    ranker = Ranker(
        catalog=FakeCatalog(model or FakeModel()),
        fusions=fusions or FakeFusions("price"),
        observer=observer or Recorder(),
        clock=clock or ManualClock(),
    )
    return asyncio.run(ranker.rank(query))


def test_the_candidates_come_back_by_the_formula_of_their_heads():
    result = rank(fusions=FakeFusions("w * ctr * log1p(duration_seconds)", w=2.0))

    scores = 2.0 * result.heads["ctr"].astype(np.float64) * np.log1p(result.heads["duration_seconds"].astype(float))
    assert result.order.tolist() == np.argsort(-scores).tolist()
    assert result.scores == pytest.approx(np.sort(scores)[::-1], rel=1e-9)
    assert (result.manifest.name, result.model_version, result.in_force.revision) == ("tiny", 1, 1)


def test_only_as_many_as_asked_come_back_with_the_heads_of_all():
    result = rank(replace(QUERY, top_k=1))

    assert result.order.tolist() == [1]
    assert result.heads["ctr"].shape == (3,)


def test_a_fusion_that_changes_meanwhile_does_not_reach_a_request_in_flight():
    fusions = FakeFusions("price")
    model = FakeModel(on_predict=lambda: fusions.put("0 - price"))

    during = rank(model=model, fusions=fusions)
    after = rank(model=FakeModel(), fusions=fusions)

    assert (during.in_force.revision, during.order.tolist()) == (1, [1, 2, 0])
    assert (after.in_force.revision, after.order.tolist()) == (2, [0, 2, 1])


def test_a_request_may_change_a_weight_for_itself():
    fusions = FakeFusions("w * price", w=1.0)

    changed = rank(replace(QUERY, weights={"w": -1.0}), fusions=fusions)

    assert changed.order.tolist() == [0, 2, 1]
    assert rank(fusions=fusions).order.tolist() == [1, 2, 0]


def test_a_weight_that_the_profile_lacks_is_refused_before_any_work():
    model = FakeModel()

    with pytest.raises(InvalidField) as refused:
        rank(replace(QUERY, weights={"v": 1.0}), model=model, fusions=FakeFusions("w * price", w=1.0))

    assert refused.value.path == "/weights/v"
    assert "w" in refused.value.fix
    assert model.deadlines == []


def test_a_request_that_the_model_has_no_room_for_costs_no_look_up_of_features():
    model = FakeModel(refuses=Overloaded("too much waits"))
    looked_up = []
    model.items.fetch = looked_up.append

    with pytest.raises(Overloaded):
        rank(model=model)

    assert looked_up == []


def test_a_formula_reads_the_callers_number_then_the_item_tables_then_the_default():
    items = {"i1": {"price": 9.0}, "i2": {"price": 3.0}}
    query = replace(QUERY, candidates={"topic": ["a", "b", "c"]})

    stored = rank(query, model=FakeModel(items=items))
    given = rank(replace(query, candidates={"price": [0.5, None, 8.0]}), model=FakeModel(items=items))

    assert dict(zip(stored.order.tolist(), stored.scores.tolist(), strict=True)) == {0: 9.0, 1: 3.0, 2: 2.0}
    assert dict(zip(given.order.tolist(), given.scores.tolist(), strict=True)) == {0: 0.5, 1: 2.0, 2: 8.0}


def test_a_formula_may_read_the_requests_own_numbers():
    assert rank(fusions=FakeFusions("hour * price")).scores.tolist() == [80.0, 40.0, 20.0]
    assert rank(replace(QUERY, request={}), fusions=FakeFusions("hour")).scores.tolist() == [12.0] * 3


def test_items_that_the_table_does_not_know_are_marked_and_counted():
    observer = Recorder()

    result = rank(model=FakeModel(items={"i2": {"price": 1.0}}), observer=observer)

    assert result.unknown_items.tolist() == [True, False, True]
    assert observer.ranks[0]["unknown_items"] == 2


def test_a_score_that_is_not_finite_goes_to_the_bottom_and_is_counted():
    observer = Recorder()

    result = rank(fusions=FakeFusions("log(price - 1)"), observer=observer)

    assert result.order.tolist() == [1, 2, 0]
    assert result.scores[-1] == -np.inf
    assert observer.ranks[0]["non_finite"] == 1


def test_every_stage_is_timed_on_the_given_clock():
    clock, observer = ManualClock(), Recorder()
    model = FakeModel(on_predict=lambda: clock.advance(7.0))

    result = rank(replace(QUERY, decode_s=0.125), model=model, clock=clock, observer=observer)

    wanted = {"decode": 0.125, "encode_features": 0.0, "queue": 0.25, "infer": 0.5, "fuse": 0.0}
    assert result.timings.stages == wanted
    assert observer.ranks[0]["stages"] == wanted


def test_the_deadline_goes_to_the_model_as_the_caller_set_it():
    model = FakeModel()

    rank(replace(QUERY, deadline=12.5), model=model)

    assert model.deadlines == [12.5]


@pytest.mark.parametrize(
    ("query", "error", "path"),
    [
        (replace(QUERY, model="nobody"), UnknownModel, "/model"),
        (replace(QUERY, request={"hour": "late"}), EncodingError, "/request/hour"),
        (replace(QUERY, candidates={"price": [1.0, "two", 3.0]}), EncodingError, "/candidates/price/1"),
        (replace(QUERY, candidates={"prize": [1.0, 2.0, 3.0]}), EncodingError, "/candidates/prize"),
    ],
    ids=["model", "request", "candidate", "unknown field"],
)
def test_what_is_wrong_is_named_with_its_place_and_not_counted_as_ranked(query, error, path):
    observer = Recorder()

    with pytest.raises(error) as refused:
        rank(query, observer=observer)

    assert refused.value.path == path
    assert observer.ranks == []
