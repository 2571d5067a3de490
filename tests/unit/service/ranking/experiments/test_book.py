"""Who is in which arm: sticky, independent, and known beforehand."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from service.errors import UnknownLayer, UnreadableDocument
from service.ranking.experiments.book import DELETED, ExperimentBook
from service.ranking.experiments.documents import Within
from service.ranking.experiments.drawing import Drawn, Target
from service.revisions import Change
from service.stores.memory import MemoryRevisionStore
from tests.experimenting import (
    ASKED,
    HALVES,
    START,
    Lab,
    Now,
    after,
    arms_of,
    book_of,
    experiment,
    layer,
    units,
    weighted,
    within,
)

MANY = units(20_000)
FEW = units(3_000, seed=1)


def ramp(*steps):
    return [{"at": after(hours).isoformat(), "share": share} for hours, share in steps]


def drawn(book, unit, *, asked=ASKED):
    return book.draw(({"user_id": unit},), asked).drawn


def exposures(book, unit, *, asked=ASKED):
    return [each.place.exposure for each in drawn(book, unit, asked=asked)]


# --- sticky ---


def test_a_unit_is_in_the_same_arms_whenever_and_whichever_process_is_asked():
    layers = {"one": layer(experiment()), "two": layer(weighted(on={"profile": "new"}))}
    now = Now()
    book, other = book_of(layers, now), book_of(layers, Now(after(5000)))

    first = arms_of(book, FEW)
    now.now = after(1000)

    assert first == arms_of(book, FEW) == arms_of(other, FEW)
    assert {len(arms) for arms in first} == {0, 1}


def test_another_salt_is_another_split():
    split = [arms_of(book_of({"one": layer(experiment(), salt=salt)}, Now()), FEW) for salt in ("", "again")]

    assert split[0] != split[1]


def test_an_id_is_the_same_unit_as_a_number_as_text_among_the_units_and_among_the_fields():
    book = book_of({"one": layer(experiment(share=1.0))})

    for number in range(100):
        sources = ({"user_id": number},), ({"user_id": str(number)},), ({}, {"user_id": number})
        assert len({book.draw(source, ASKED).drawn[0].place.exposure for source in sources}) == 1


def test_what_stands_among_the_units_counts_before_a_field_of_the_same_name():
    book = book_of({"one": layer(experiment(share=1.0))})

    for number in range(20):
        assert book.draw(({"user_id": "u1"}, {"user_id": number}), ASKED) == book.draw(({"user_id": "u1"},), ASKED)


@pytest.mark.parametrize("fields", [{}, {"user_id": None}, {"user_id": ""}, {"user_id": ["u1"]}, {"session_id": "s1"}])
def test_a_request_that_names_nobody_is_in_nothing_and_the_layer_is_named(fields):
    book = book_of({"one": layer(experiment(share=1.0))})

    assert book.draw((fields,), ASKED) == ([], ["one"])


# --- ramps, windows, holdout ---


@given(st.lists(st.integers(1, 100), min_size=2, max_size=5, unique=True))
@settings(max_examples=15, deadline=None)
def test_a_ramp_only_brings_units_in_and_nobody_ever_changes_arms(percents):
    steps = [(hour, percent / 100) for hour, percent in enumerate(sorted(percents))]
    now = Now(after(-1))
    book = book_of({"one": layer(experiment(share=1.0, ramp=ramp(*steps)))}, now)
    before = arms_of(book, FEW)
    assert not any(before)

    for hour, share in steps:
        now.now = after(hour)
        at_step = arms_of(book, FEW)
        assert all(old in ({}, new) for old, new in zip(before, at_step, strict=True))
        inside = sum(map(bool, at_step))
        assert inside / len(FEW) == pytest.approx(share, abs=0.05)
        before = at_step


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4))
@settings(max_examples=15, deadline=None)
def test_an_operator_who_grows_a_share_moves_nobody_who_is_in_beside_others_that_come_and_go(percents):
    lab = Lab()
    before = [{} for _ in FEW]

    for turn, percent in enumerate(sorted(percents)):
        neighbour = experiment(f"n{turn}", share=0.3, arms=[{"name": "control", "share": 1.0}])
        lab.put("one", layer(experiment(share=percent / 100), neighbour, holdout=0.1 if turn % 2 else 0.0))
        now = [{key: arm for key, arm in arms.items() if arm[0] == "formula"} for arms in lab.arms(FEW)]
        assert all(old in ({}, new) for old, new in zip(before, now, strict=True))
        before = now


def test_taking_one_experiment_out_moves_nobody_of_another():
    lab = Lab()
    lab.put("one", layer(experiment("a", share=0.3), experiment("b", share=0.3), experiment("c", share=0.3)))
    before = lab.arms(FEW)

    lab.put("one", layer(experiment("c", share=0.3)))

    assert [arms if arms.get("one", ("",))[0] == "c" else {} for arms in before] == lab.arms(FEW)


def test_outside_of_its_window_nobody_is_in():
    now = Now(after(-1))
    window = {"starts_at": after(0).isoformat(), "ends_at": after(2).isoformat()}
    book = book_of({"one": layer(experiment(share=1.0, **window))}, now)

    inside = []
    for moment in (-1, 0, 1.99, 2, 3):
        now.now = after(moment)
        inside.append(sum(map(bool, arms_of(book, FEW))))

    assert inside == [0, len(FEW), len(FEW), 0, 0]


def test_a_ramp_that_was_planned_before_the_start_begins_with_the_start():
    now = Now(after(0.5))
    steps = ramp((-2, 0.1), (0, 0.4), (2, 1.0))
    book = book_of({"one": layer(experiment(share=1.0, ramp=steps, starts_at=after(1).isoformat()))}, now)
    before = arms_of(book, FEW)
    now.now = after(1)

    assert not any(before)
    assert sum(map(bool, arms_of(book, FEW))) / len(FEW) == pytest.approx(0.4, abs=0.05)


def test_the_holdout_is_a_group_of_its_own_that_no_experiment_ever_reaches():
    now = Now()
    lab = Lab()
    lab.put("one", layer(experiment(share=0.2), holdout=0.2))
    held = [unit for unit, arms in zip(MANY, lab.arms(MANY), strict=True) if arms == {"one": ("holdout", "holdout")}]

    lab.put("one", layer(experiment(share=0.4), experiment("more", share=0.4), holdout=0.2))
    now.now = after(100)

    assert len(held) / len(MANY) == pytest.approx(0.2, abs=0.01)
    assert set(map(str, lab.arms(held))) == {str({"one": ("holdout", "holdout")})}
    assert {each.propensity for each in exposures(lab.book, held[0])} == {0.2}


# --- propensity ---


def test_the_propensity_of_an_arm_is_how_often_units_get_it():
    """200,000 units through a ramp, a holdout, uneven arms and a layer within an arm, against a chi-square test."""
    now = Now()
    thirds = [{"name": name, "share": share} for name, share in (("control", 0.5), ("x", 0.3), ("y", 0.2))]
    layers = {
        "above": layer(experiment(share=0.8, ramp=ramp((-1, 0.35), (1, 0.8))), holdout=0.15),
        "below": layer(
            experiment("inner", share=0.6, arms=thirds, on={"profile": "new"}), within=within("above"), holdout=0.1
        ),
    }
    book = book_of(layers, now)
    promised: dict[tuple[str, str, str], float] = {}
    counts: Counter[tuple[str, str, str]] = Counter()

    everyone = units(200_000, seed=7)
    for unit in everyone:
        for exposure in exposures(book, unit):
            key = (exposure.layer, exposure.experiment, exposure.arm)
            assert promised.setdefault(key, exposure.propensity) == exposure.propensity
            counts[key] += 1

    assert promised[("above", "formula", "new")] == pytest.approx(0.35 * 0.5)
    assert promised[("below", "inner", "x")] == pytest.approx(0.35 * 0.5 * 0.6 * 0.3)
    assert promised[("below", "holdout", "holdout")] == pytest.approx(0.35 * 0.5 * 0.1)
    for name in layers:
        chances = {key: chance for key, chance in promised.items() if key[0] == name}
        seen = [counts[key] for key in chances]
        expected = [chance * len(everyone) for chance in chances.values()]
        rest = len(everyone) - sum(seen), len(everyone) - sum(expected)
        assert chisquare([*seen, rest[0]], [*expected, rest[1]]).pvalue > 1e-3, name


# --- layers ---


def test_arms_of_two_layers_are_independent_and_so_are_arms_and_the_bucket_that_let_a_unit_in():
    book = book_of({"one": layer(experiment(share=1.0)), "two": layer(experiment(share=1.0))})
    one = book.placing()[0]

    everyone = arms_of(book, MANY)
    arms = [[each[name][1] == "new" for each in everyone] for name in ("one", "two")]
    buckets = [one.bucket(unit.encode()) // 1000 for unit in MANY]

    for first, second in (arms, (arms[0], buckets)):
        pairs = Counter(zip(first, second, strict=True))
        table = [[pairs[(a, b)] for b in sorted(set(second))] for a in (False, True)]
        assert chi2_contingency(table).pvalue > 1e-3


def test_the_units_of_a_layer_within_an_arm_are_all_in_that_arm():
    book = book_of(
        {
            "a": layer(experiment("inner", share=0.5, on={"profile": "new"}), within=within("z"), holdout=0.1),
            "z": layer(experiment(share=0.6)),
        },
        Now(),
    )

    below = [arms for arms in arms_of(book, MANY) if "a" in arms]

    assert {arms["z"] for arms in below} == {("formula", "new")}
    assert len(below) / len(MANY) == pytest.approx(0.6 * 0.5 * 0.6, abs=0.02)


def test_when_the_experiment_above_ends_nobody_is_in_the_layer_within():
    now = Now()
    layers = {
        "above": layer(experiment(share=1.0, ends_at=after(1).isoformat())),
        "below": layer(experiment("inner", share=1.0, on={"profile": "new"}), within=within("above")),
    }
    book = book_of(layers, now)
    assert any("below" in arms for arms in arms_of(book, FEW))
    now.now = after(1)

    assert not any(arms_of(book, FEW))


def test_an_experiment_is_on_requests_for_its_profile_and_model_alone():
    layers = {
        "one": layer(experiment(share=1.0, on={"profile": "default", "model": "tiny"})),
        "two": layer(experiment("other", share=1.0, on={"profile": "new"})),
    }
    book = book_of(layers)

    asked = {
        target: [each.place.exposure.layer for each in drawn(book, "u1", asked=Target(*target))]
        for target in [("default", "tiny"), ("default", "big"), ("new", "tiny"), ("new", "big"), ("third", "tiny")]
    }

    assert list(asked.values()) == [["one"], [], ["two"], ["two"], []]


def test_within_another_arm_an_experiment_is_on_what_that_arm_ranks_by():
    layers = {
        "above": layer(experiment(share=1.0)),
        "below": layer(weighted(share=1.0, weights={"u": 2.0}, on={"profile": "new"}), within=within("above")),
    }
    book = book_of(layers)

    for unit in FEW[:200]:
        places = drawn(book, unit)
        assert all(isinstance(each, Drawn) for each in places)
        if len(places) == 2:
            assert (places[0].before.profile, places[1].before.profile) == ("default", "new")
            assert (places[0].parent, places[1].parent) == (None, "above")
    assert {len(drawn(book, unit)) for unit in FEW} == {1, 2}


# --- documents ---


@pytest.fixture
def store():
    return MemoryRevisionStore()


def kept(store, document, *, name="experiments/one", action="put"):
    seen = store.latest()[name].revision if name in store.latest() else 0
    return store.append(Change(name=name, document=document, expected=seen, author="ana", action=action))


@pytest.fixture
def allotted():
    lab = Lab()
    return lab.put("one", layer(experiment(share=1.0))).allotted.model_dump_json()


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"layer": {}}', "null", '{"deleted": false}'])
def test_a_revision_that_cannot_be_read_leaves_the_last_good_one_in_force_and_the_layer_is_called_stale(
    store, allotted, torn
):
    book = ExperimentBook()
    book.apply(kept(store, allotted))
    before = arms_of(book, FEW)

    with pytest.raises(UnreadableDocument, match="revision 2 of experiments/one"):
        book.apply(kept(store, torn))

    assert arms_of(book, FEW) == before
    assert list(book.stale()) == ["one"]
    assert book.revision_of("experiments/one") == 1
    book.apply(kept(store, allotted))
    assert dict(book.stale()) == {}


def test_an_older_revision_that_arrives_late_changes_nothing(store, allotted):
    first, second = kept(store, allotted), kept(store, DELETED, action="delete")
    book = ExperimentBook()

    book.apply(second)
    book.apply(first)

    assert book.is_empty
    assert book.revision_of("experiments/one") == 2
    with pytest.raises(UnknownLayer, match="'one'"):
        book.layer("one")


def test_what_a_store_has_after_it_lost_its_last_changes_replaces_what_stood(store, allotted):
    first, second = kept(store, allotted), kept(store, DELETED, action="delete")
    book = ExperimentBook()
    book.apply(second)

    book.apply(first, replace=True)

    assert (book.is_empty, book.revision_of("experiments/one")) == (False, 1)


def test_layers_within_each_other_which_only_two_writers_at_once_could_make_are_left_out_and_hang_nothing(store):
    book = ExperimentBook()
    lab = Lab()
    good = lab.put("good", layer(experiment(share=1.0, arms=HALVES))).allotted
    for name, other in (("a", "b"), ("b", "a")):
        circle = good.layer.model_copy(update={"within": Within(**within(other))})
        book.apply(kept(store, good.model_copy(update={"layer": circle}).model_dump_json(), name=f"experiments/{name}"))
    book.apply(kept(store, good.model_dump_json(), name="experiments/good"))

    assert {key for arms in arms_of(book, FEW) for key in arms} == {"good"}


def test_by_default_the_time_of_day_decides():
    lab = Lab()
    window = {"starts_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    lab.now.now = START
    written = lab.put("one", layer(experiment(share=1.0, **window)))
    book = ExperimentBook()
    book.apply(written.revision)

    assert all(arms_of(book, FEW))
