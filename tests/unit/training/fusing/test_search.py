"""A search finds what was planted, stays within bounds, and says what it found on requests that it did not see."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from contract.fusion import FusionProfile
from contract.fusion_bundle import Utility
from contract.weights import Weight
from tests.unit.training.fusing.logs import make_log, some_log
from training.errors import LogError, SearchError
from training.fusing.front import HasObjectives, non_dominated, thinned
from training.fusing.grid import Grid, with_bounds
from training.fusing.judging import Yardstick
from training.fusing.pictures import draw_search
from training.fusing.profiles import CurrentProfile, parse_profile
from training.fusing.search import SearchConfig, SearchDocument, search

PLANTED = 0.7


def _planted(requests, *, seed, first=0):
    """A world whose gain is ``(1 - p) * ctr + p * duration_seconds / 10`` exactly, with p planted."""
    rng = np.random.default_rng(seed)
    ctr, seconds = rng.random((2, requests * 12))
    columns = {
        "ctr": ctr,
        "duration_seconds": 10 * seconds,
        "price": ctr,
        "click": ((1 - PLANTED) * ctr + PLANTED * seconds) ** 4,
        "duration": seconds,
    }
    return make_log(columns, [12] * requests, first=first)


def _search(*utilities, trials=80, profile=None, **settings):
    current = profile or FusionProfile(
        formula="(1 - p) * ctr + p * duration_seconds / 10", weights={"p": Weight(value=0.1, min=0, max=1)}
    )
    config = SearchConfig(utilities=tuple(Utility(formula=each) for each in utilities), trials=trials, **settings)
    earlier, later = _planted(200, seed=0), _planted(200, seed=1, first=200)
    return search(earlier, later, CurrentProfile(profile=current), config)


def test_a_planted_optimum_is_found_and_holds_on_later_requests():
    found = _search("click").points[0]

    assert found.weights["p"] == pytest.approx(PLANTED, abs=0.05)
    assert found.later[0].value > 0.999
    assert found.change[0].low > 0


def test_the_current_weights_are_tried_first_and_the_found_ones_are_never_worse_where_they_were_searched():
    document = _search("click", trials=1)

    assert document.trials[0].weights == {"p": 0.1}
    assert document.now.objectives == document.trials[0].objectives
    assert document.points[0].objectives[0] >= document.now.objectives[0]
    assert (document.now.change[0].low, document.now.change[0].high) == (0, 0)


def test_the_same_seed_finds_the_same_weights():
    assert _search("click", trials=25, seed=3) == _search("click", trials=25, seed=3)


def test_weights_with_steps_are_found_on_their_steps():
    profile = FusionProfile(
        formula="(1 - p) * ctr + p * duration_seconds / 10", weights={"p": Weight(value=0.1, min=0, max=1, step=0.1)}
    )

    document = _search("click", trials=30, profile=profile)

    assert all(not profile.weights["p"].problem_with(trial.weights["p"]) for trial in document.trials)
    assert document.points[0].weights["p"] == pytest.approx(PLANTED)


def test_two_utilities_give_a_front_that_no_trial_beats():
    document = _search("click", "1 - duration", yardstick=Yardstick(measure="total", k=3), trials=60)

    points = [point.objectives for point in document.points]
    assert len(points) > 3
    assert [first for first, _ in points] == sorted((first for first, _ in points), reverse=True)
    for point in points:
        assert not any(_beats(trial.objectives, point) for trial in document.trials)


def test_totals_are_what_the_best_of_a_request_bring():
    document = _search("duration", yardstick=Yardstick(measure="total", k=12), trials=1)

    log = _planted(200, seed=0)
    assert document.now.objectives[0] == pytest.approx(log.columns["duration"].sum() / 200)


def test_a_search_may_not_judge_on_what_it_searched():
    log = some_log(20)
    profile = FusionProfile(formula="w * ctr", weights={"w": Weight(value=1, min=0, max=2)})
    config = SearchConfig(utilities=(Utility(formula="click"),), trials=1)

    with pytest.raises(LogError, match="in both logs"):
        search(log, log, CurrentProfile(profile=profile), config)


def test_a_document_survives_json_and_is_drawn(tmp_path):
    for number, utilities in enumerate((["click"], ["click", "duration"])):
        document = _search(*utilities, trials=12)

        draw_search(document, tmp_path / f"{number}.png")

        assert SearchDocument.model_validate_json(document.model_dump_json()) == document
        picture = imread(tmp_path / f"{number}.png")
        assert picture.shape[0] > 300
        assert np.ptp(picture) > 0.5


OBJECTIVES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


def _beats(a, b):
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@given(OBJECTIVES)
def test_the_front_is_all_that_is_not_beaten_each_value_once(objectives):
    front = [objectives[i] for i in non_dominated(objectives)]

    assert set(front) == {p for p in objectives if not any(_beats(other, p) for other in objectives)}
    assert len(front) == len(set(front))


@given(st.lists(st.tuples(st.integers(0, 9)), min_size=1, max_size=20))
def test_of_one_objective_the_front_is_the_first_best(objectives):
    assert non_dominated(objectives) == [objectives.index(max(objectives))]


@given(st.integers(1, 60), st.integers(2, 20))
def test_a_thinned_front_keeps_its_ends_and_its_order(size, most):
    front = [HasObjectives(objectives=(float(size - i), float(i) ** 2)) for i in range(size)]

    kept = thinned(front, most)

    assert len(kept) <= most
    assert (kept[0], kept[-1]) == (front[0], front[-1])
    assert [front.index(point) for point in kept] == sorted(front.index(point) for point in kept)


def _profile(**weight):
    return FusionProfile(formula="w * ctr", weights={"w": Weight(**weight)})


def test_a_weight_without_bounds_is_not_searched_until_it_gets_some():
    with pytest.raises(SearchError, match="'w' has no bounds"):
        with_bounds(_profile(value=1.0), {})

    bounded = with_bounds(_profile(value=1.0), {"w": (0.5, 2.0)})

    assert (bounded.weights["w"].min, bounded.weights["w"].max) == (0.5, 2.0)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 3.0), (1.0, 1.0)])
def test_bounds_may_narrow_the_profiles_own_and_nothing_else(bounds):
    with pytest.raises(SearchError, match="cannot be searched"):
        with_bounds(_profile(value=1.0, min=0.0, max=2.0), {"w": bounds})


def test_there_must_be_a_weight_to_search():
    with pytest.raises(SearchError, match="no weights"):
        with_bounds(FusionProfile(formula="ctr"), {})
    with pytest.raises(SearchError, match="no weight 'v'"):
        with_bounds(_profile(value=1.0, min=0, max=2), {"v": (0.0, 1.0)})


@given(st.integers(-20, 20), st.integers(1, 40), st.sampled_from([0.1, 0.25, 1 / 3]), st.floats(0, 1), st.floats(0, 1))
def test_whatever_is_drawn_within_narrowed_bounds_is_on_the_profiles_own_steps(start, steps, step, a, b):
    low = start * step
    weight = Weight(value=low, min=low, max=low + steps * step, step=step)
    asked = sorted(low + share * steps * step for share in (a, b))
    if asked[0] == asked[1]:
        return
    narrowed = with_bounds(FusionProfile(formula="w * ctr", weights={"w": weight}), {"w": tuple(asked)})
    grid = Grid.of(narrowed.weights["w"])
    if grid.low > grid.high:
        return
    drawn = range(grid.distribution().high + 1)

    assert not [grid.weight(n) for n in drawn if weight.problem_with(min(grid.weight(n), weight.max))]
    assert [grid.drawn(grid.weight(n)) for n in drawn] == list(drawn)


@pytest.mark.parametrize(
    "document",
    [
        {"formula": "w*ctr", "weights": {"w": 2}},
        {"profile": "feed", "revision": 7, "formula": "w*ctr", "weights": {"w": 2}, "created_at": "now"},
        {"name": "feed", "revision": 7, "profile": {"kind": "formula", "formula": "w*ctr", "weights": {"w": 2}}},
    ],
)
def test_a_profile_is_read_by_itself_or_from_the_answer_of_the_service(document):
    found = parse_profile(json.loads(json.dumps(document)), "it")

    assert found.profile.weight_values() == {"w": 2.0}
    assert (found.name, found.revision) == (("feed", 7) if "revision" in document else (None, None))


@pytest.mark.parametrize("document", [[], {}, {"formula": 3}, {"kind": "model", "model": "m", "version": 1}])
def test_what_is_no_formula_is_refused(document):
    with pytest.raises(SearchError):
        parse_profile(document, "it")
