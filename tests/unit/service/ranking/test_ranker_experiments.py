"""Arms in the life of a request."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from contract.fusion import FusionProfile, compile_fusion
from service.errors import InvalidField
from service.ports import Assignment, Exposure, InForce
from service.ranking.query import RankQuery
from service.ranking.ranker import Ranker
from tests.factories import tiny_manifest
from tests.fakes import FakeCatalog, FakeModel, ManualClock, Recorder

EXPOSURE = Exposure(layer="one", experiment="formula", arm="new", propensity=0.25)
QUERY = RankQuery(
    item_ids=["i1", "i2", "i3"],
    request={"hour": 20.0},
    candidates={"topic": ["a", "b", "c"], "price": [1.0, 4.0, 2.0]},
    model="tiny",
)
PROFILES = {
    "default": FusionProfile(formula="w * price", weights={"w": 1.0}),
    "new": FusionProfile(formula="0 - v * price", weights={"v": 1.0}),
}


class Fusions:
    def current(self, profile_name, model):
        fusion = compile_fusion(PROFILES[profile_name], model.manifest.formula_variables())
        return InForce(profile=profile_name, revision=1, variant="base", fusion=fusion)


class FakeAssigner:
    """Assigns every request alike and remembers what became of it."""

    def __init__(self, **assignment):
        self.assignment = assignment
        self.heard = []

    def assign(self, query):
        asked = {"model": query.model, "profile": query.profile, "weights": query.weights}
        return Assignment(**{**asked, **self.assignment})

    def ranked(self, assignment, ranked):
        self.heard.append((assignment, ranked))


def rank(assigner, query=QUERY, *, observer=None):
    models = FakeModel(), FakeModel(manifest=tiny_manifest("big"), gain=2.0)
    ranker = Ranker(
        catalog=FakeCatalog(*models),
        fusions=Fusions(),
        observer=observer or Recorder(),
        clock=ManualClock(),
        experiments=assigner,
    )
    return asyncio.run(ranker.rank(query))


def test_the_arms_model_profile_and_weights_rank_and_are_named_and_observed():
    observer = Recorder()
    assigner = FakeAssigner(model="big", profile="new", weights={"v": 3.0}, exposures=(EXPOSURE,))

    result = rank(assigner, observer=observer)

    assert (result.manifest.name, result.in_force.profile, result.exposures) == ("big", "new", (EXPOSURE,))
    assert result.scores.tolist() == [-3.0, -6.0, -12.0]
    assert (observer.ranks[0]["model"], observer.ranks[0]["profile"]) == ("big", "new")


def test_what_was_ranked_is_told_with_all_scores_in_the_callers_order_and_what_any_fusion_would_read():
    assigner = FakeAssigner(exposures=(EXPOSURE,))

    rank(assigner, replace(QUERY, top_k=1, decode_s=0.25))

    (assignment, ranked), = assigner.heard  # fmt: skip
    other = compile_fusion(FusionProfile(formula="ctr * hour"), tiny_manifest().formula_variables())
    assert assignment.exposures == (EXPOSURE,)
    assert ranked.scores.tolist() == [1.0, 4.0, 2.0]
    assert ranked.seconds == pytest.approx(0.25 + 0.25 + 0.5)
    assert set(ranked.values(other)) == {"ctr", "hour"}
    assert np.shape(ranked.values(other)["ctr"]) == (3,)


def test_a_request_that_is_in_nothing_is_told_to_nobody():
    assigner = FakeAssigner()

    assert rank(assigner).exposures == ()
    assert assigner.heard == []


def test_a_weight_of_the_request_that_the_profile_lacks_is_still_refused():
    with pytest.raises(InvalidField) as refused:
        rank(FakeAssigner(exposures=(EXPOSURE,)), replace(QUERY, weights={"z": 1.0}))

    assert refused.value.path == "/weights/z"
