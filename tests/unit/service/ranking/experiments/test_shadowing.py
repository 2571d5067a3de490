"""Arms that are scored beside the answer."""

import asyncio
import threading

import numpy as np
import pytest
from scipy.stats import kendalltau

from service.ports import Exposure, Ranked, ShadowArm
from service.ranking.experiments.shadow_change import shadow_change
from service.ranking.experiments.shadowing import ShadowScorer
from tests.experimenting import Lab, Watching, experiment, layer, units
from tests.fakes import PATIENCE_S, FakeModel, ManualClock

ARM = Exposure(layer="one", experiment="quiet", arm="s", propensity=1.0, shadow=True)
HEADS = {"ctr": np.array([0.1, 0.2, 0.3]), "log_duration": np.array([3.0, 2.0, 1.0])}


def shadow(profile="new", **weights):
    return ShadowArm(exposure=ARM, profile=profile, weights=weights)


def ranked(values=lambda _: HEADS, scores=HEADS["ctr"]):
    return Ranked(model=FakeModel(), scores=scores, values=values, seconds=0.0)


def scorer(lab=None, *, observer=None, **how):
    return ShadowScorer(
        fusions=(lab or Lab()).fusions, observer=observer or Watching(), clock=ManualClock(), rest=0.0, **how
    )


async def scored(arms, given=None, *, lab=None, observer=None):
    shadows = scorer(lab, observer=observer)
    shadows.offer(arms, given or ranked())
    await asyncio.wait_for(shadows.settled(), PATIENCE_S)
    await shadows.aclose()


# --- what would have changed ---


@pytest.mark.parametrize("size", [2, 7, 40, 300])
def test_the_change_is_what_is_shared_on_top_kendalls_tau_and_whether_the_first_changes(size):
    random = np.random.default_rng(size)
    first, second = random.normal(size=(2, size)).round(1)

    change = shadow_change(first, second)

    tops = [set(np.argsort(-scores, kind="stable")[:10].tolist()) for scores in (first, second)]
    assert change.top_overlap == pytest.approx(len(tops[0] & tops[1]) / min(10, size))
    assert change.kendall_tau == pytest.approx(kendalltau(first, second).statistic)
    assert change.first_changed == (int(np.argmax(first)) != int(np.argmax(second)))


def test_a_ranking_is_no_different_from_itself_and_the_other_way_round_from_its_reverse():
    scores = np.arange(30.0)

    same, reverse = shadow_change(scores, scores), shadow_change(scores, -scores)

    assert (same.top_overlap, same.kendall_tau, same.first_changed) == (1.0, 1.0, False)
    assert (reverse.top_overlap, reverse.kendall_tau, reverse.first_changed) == (0.0, -1.0, True)


def test_scores_that_were_not_finite_stand_at_the_bottom_and_spoil_nothing():
    change = shadow_change(np.array([3.0, 2.0, -np.inf]), np.array([-np.inf, 2.0, -np.inf]))

    assert (change.top_overlap, change.first_changed) == (1.0, True)
    assert np.isfinite(change.kendall_tau)


# --- when and how ---


def test_a_shadow_is_scored_by_its_profile_and_weights_from_the_heads_of_the_answer():
    observer = Watching()

    asyncio.run(scored([shadow(), shadow("default", w=2.0)], observer=observer))

    assert observer.shadows == [
        (ARM, {"top_overlap": 1.0, "kendall_tau": pytest.approx(-1.0), "first_changed": True}),
        (ARM, {"top_overlap": 1.0, "kendall_tau": pytest.approx(1.0), "first_changed": False}),
    ]


def test_whoever_offers_a_shadow_goes_on_before_any_is_scored():
    observer, reads = Watching(), []

    async def answer():
        shadows = scorer(observer=observer)
        shadows.offer([shadow()], ranked(values=lambda fusion: reads.append(fusion) or HEADS))
        before = list(reads)
        await asyncio.wait_for(shadows.settled(), PATIENCE_S)
        await shadows.aclose()
        return before

    assert asyncio.run(answer()) == []
    assert (len(reads), len(observer.shadows)) == (1, 1)


def test_when_the_line_is_full_shadows_are_dropped_and_counted_and_the_line_goes_on():
    observer, go = Watching(), threading.Event()

    def slow(_):
        assert go.wait(PATIENCE_S)
        return HEADS

    async def run():
        shadows = scorer(observer=observer, max_waiting=3)
        for _ in range(10):
            shadows.offer([shadow()], ranked(values=slow))
        go.set()
        await asyncio.wait_for(shadows.settled(), PATIENCE_S)
        shadows.offer([shadow()], ranked())
        await asyncio.wait_for(shadows.settled(), PATIENCE_S)
        await shadows.aclose()

    asyncio.run(run())

    assert observer.lost == [(ARM, "busy")] * 7
    assert len(observer.shadows) == 4


@pytest.mark.parametrize(
    ("arm", "values"),
    [
        (shadow("nobody"), lambda _: HEADS),
        (shadow("misfit"), lambda _: HEADS),
        (shadow("default", z=1.0), lambda _: HEADS),
        (shadow("default", w=9.0), lambda _: HEADS),
        (shadow("strict"), lambda _: HEADS),
        (shadow(), lambda _: 1 / 0),
    ],
    ids=["no profile", "no head", "no weight", "out of bounds", "not finite", "a bug"],
)
def test_a_shadow_that_fails_is_counted_and_those_behind_it_are_scored(arm, values):
    lab, observer = Lab(), Watching()
    lab.profile("misfit", "like")
    lab.profile("strict", "log(0 - ctr)", non_finite="fail")

    async def run():
        shadows = scorer(lab, observer=observer)
        shadows.offer([arm], ranked(values=values))
        shadows.offer([shadow()], ranked())
        await asyncio.wait_for(shadows.settled(), PATIENCE_S)
        await shadows.aclose()

    asyncio.run(run())

    assert observer.lost == [(ARM, "failed")]
    assert len(observer.shadows) == 1


def test_after_closing_nothing_is_taken_in():
    observer = Watching()

    async def run():
        shadows = scorer(observer=observer)
        await shadows.aclose()
        shadows.offer([shadow()], ranked())
        await shadows.settled()

    asyncio.run(run())

    assert observer.lost == [(ARM, "busy")]


def test_the_thread_rests_so_many_times_as_long_as_it_worked(monkeypatch):
    clock, rests = ManualClock(), []
    shadows = ShadowScorer(fusions=Lab().fusions, observer=Watching(), clock=clock, rest=9.0)
    sleep = asyncio.sleep

    async def rest(seconds):
        rests.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", rest)

    async def run():
        shadows.offer([shadow()], ranked(values=lambda _: clock.advance(0.002) or HEADS))
        await asyncio.wait_for(shadows.settled(), PATIENCE_S)
        await shadows.aclose()

    asyncio.run(run())

    assert rests == [pytest.approx(0.018)]


# --- in an experiment ---


def test_a_shadow_arm_leaves_the_answer_alone_and_is_marked():
    lab = Lab(models=[FakeModel()])
    arms = [{"name": "control", "share": 0.5}, {"name": "s", "share": 0.5, "profile": "new", "shadow": True}]
    lab.put("one", layer(experiment("quiet", share=1.0, arms=arms)))

    class Asked:
        request, model, profile, weights = {}, None, "default", {"w": 3.0}

    seen = set()
    for unit in units(50):
        Asked.units = {"user_id": unit}
        assigned = lab.parts.chooser.assign(Asked)
        assert (assigned.profile, assigned.weights) == ("default", {"w": 3.0})
        seen.add((assigned.exposures[0].arm, assigned.exposures[0].shadow, len(assigned.shadows)))
        for each in assigned.shadows:
            assert (each.profile, each.weights) == ("new", {})

    assert seen == {("control", False, 0), ("s", True, 1)}


def test_a_shadow_on_weights_is_compared_under_the_weights_that_the_answer_was_made_with():
    lab = Lab(models=[FakeModel()])
    only = {"name": "only", "share": 1.0}
    lab.put("live", layer(experiment("live", share=1.0, arms=[only | {"weights": {"v": 0.5}}])))
    lab.put("quiet", layer(experiment("quiet", share=1.0, arms=[only | {"weights": {"w": 2.0}, "shadow": True}])))

    class Asked:
        request, model, profile, weights, units = {}, None, "default", {}, {"user_id": "u1"}

    assigned = lab.parts.chooser.assign(Asked)

    assert assigned.weights == {"v": 0.5}
    assert [each.weights for each in assigned.shadows] == [{"v": 0.5, "w": 2.0}]
