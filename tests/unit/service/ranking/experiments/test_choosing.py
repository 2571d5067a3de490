"""What a request is ranked by, once its arms have had their say."""

import numpy as np
import pytest

from contract.features import Categorical, Numeric, Standard, Vector
from service.errors import UnknownModel
from service.ports import Assignment, Ranked
from service.ranking.experiments.book import FAMILY
from service.ranking.query import RankQuery
from tests.experimenting import Lab, after, book_of, experiment, layer, manifest, units, within
from tests.fakes import FakeModel

EVERYONE = units(300)
CONTROL = {"name": "control", "share": 0.5}


def query(unit="u1", **more):
    return RankQuery(item_ids=["i1"], request={}, candidates={}, units={"user_id": unit}, **more)


def all_in(name="formula", *, arm, **more):
    """An experiment with one arm that everybody is in."""
    return experiment(name, share=1.0, arms=[{"name": "only", "share": 1.0, **arm}], **more)


@pytest.fixture
def lab():
    lab = Lab(models=[FakeModel(), FakeModel(manifest=manifest("big"))])
    lab.profile("other", "w * ctr", w=1.0)
    return lab


def assign(lab, asked=None):
    return lab.parts.chooser.assign(asked or query(model="tiny"))


def with_layers(lab, **layers):
    """Put layers in force that no editor has checked, as another process could have."""
    for revision in book_of(layers)._standing.values():
        lab.book.apply(revision.revision)
    return lab


def test_without_experiments_a_request_is_ranked_as_it_asks_to_be(lab):
    asked = query(model="nobody", profile="nothing", weights={"w": 3.0})

    assert assign(lab, asked) == Assignment(model="nobody", profile="nothing", weights={"w": 3.0})


def test_an_arm_replaces_the_profile_the_model_or_some_weights(lab):
    lab.put("profile", layer(all_in(arm={"profile": "new"})))
    lab.put("model", layer(all_in("model", arm={"model": "big"}, on={"model": "tiny"})))
    changed = assign(lab)
    lab.delete("profile")
    lab.put("weights", layer(all_in("weights", arm={"weights": {"w": 2.0}})))
    weighed = assign(lab)

    assert (changed.profile, changed.model, changed.weights) == ("new", "big", {})
    assert (weighed.profile, weighed.model, weighed.weights) == ("default", "big", {"w": 2.0})
    assert [(each.layer, each.arm, each.propensity, each.fallback) for each in weighed.exposures] == [
        ("model", "only", 1.0, ""),
        ("weights", "only", 1.0, ""),
    ]


def test_the_control_arm_changes_nothing_and_is_named_all_the_same(lab):
    lab.put("one", layer(experiment(share=1.0, arms=[CONTROL | {"share": 1.0}])))

    assigned = assign(lab)

    assert (assigned.profile, assigned.weights) == ("default", {})
    assert [(each.experiment, each.arm) for each in assigned.exposures] == [("formula", "control")]


def test_a_requests_own_weights_win_over_an_arms(lab):
    lab.put("one", layer(all_in(arm={"weights": {"w": 2.0, "v": 4.0}})))

    assert assign(lab, query(model="tiny", weights={"w": 3.0})).weights == {"w": 3.0, "v": 4.0}


def test_an_arm_of_one_profile_leaves_requests_for_another_alone(lab):
    lab.put("one", layer(all_in(arm={"profile": "new"})))
    lab.put("two", layer(all_in(arm={"weights": {"w": 2.0}}, on={"profile": "other", "model": "big"})))

    assert assign(lab, query(model="tiny", profile="new")) == Assignment(model="tiny", profile="new", weights={})
    assert assign(lab, query(model="tiny", profile="other")).exposures == ()
    assert assign(lab, query(model="big", profile="other")).weights == {"w": 2.0}


def test_the_arms_of_layers_within_each_other_add_up(lab):
    lab.put("above", layer(all_in(arm={"profile": "new"})))
    lab.put("below", layer(all_in("w", arm={"weights": {"u": 2.0}}, on={"profile": "new"}),
                           within=within("above", arm="only")))  # fmt: skip

    assigned = assign(lab)

    assert (assigned.profile, assigned.weights) == ("new", {"u": 2.0})


def test_a_model_that_nobody_serves_is_the_requests_own_mistake(lab):
    lab.put("one", layer(all_in(arm={"profile": "new"})))

    with pytest.raises(UnknownModel):
        assign(lab, query(model="nobody"))


def test_a_request_that_names_nobody_is_counted_by_layer_and_ranked_as_it_asks(lab):
    lab.put("one", layer(all_in(arm={"profile": "new"})))
    lab.put("two", layer(all_in("s", arm={"model": "big"}, on={"model": "tiny"}), unit="session_id"))

    assigned = assign(lab, RankQuery(item_ids=["i1"], request={"session_id": "s1"}, candidates={}, model="tiny"))

    assert lab.observer.missing == ["one"]
    assert (assigned.profile, assigned.model) == ("default", "big")


# --- an arm that cannot be served ---


def gone(lab, name, arm, on=None):
    """A layer whose arm could be served once."""
    with_layers(lab, **{name: layer(all_in(name, arm=arm, on=on or {}))})


@pytest.mark.parametrize(
    ("arm", "on", "asked", "reason"),
    [
        ({"model": "huge"}, {"model": "tiny"}, {}, "model"),
        ({"profile": "nobody"}, {}, {}, "profile"),
        ({"profile": "misfit"}, {}, {}, "profile"),
        ({"weights": {"x": 1.0}}, {}, {}, "weights"),
        ({"weights": {"w": 6.0}}, {}, {}, "weights"),
        ({"profile": "new", "weights": {"w": 1.0}}, {}, {}, "weights"),
        ({"profile": "new"}, {}, {"weights": {"w": 2.0}}, "request_weights"),
        ({"model": "poor"}, {"model": "tiny"}, {}, "fields"),
    ],
)
def test_a_request_whose_arm_cannot_be_served_is_ranked_as_it_asked_and_says_why(lab, arm, on, asked, reason):
    features = lab.catalog.models["tiny"].manifest.features
    poor = features.model_copy(update={"fields": features.fields[1:]})
    lab.catalog.models["poor"] = FakeModel(manifest=manifest("poor", features=poor))
    lab.profile("misfit", "like")
    gone(lab, "one", arm, on)

    assigned = assign(lab, query(model="tiny", **asked))

    assert (assigned.model, assigned.profile, assigned.weights) == ("tiny", "default", asked.get("weights", {}))
    assert [each.fallback for each in assigned.exposures] == [reason]


def test_one_arm_that_cannot_be_served_leaves_those_of_other_layers_in_force(lab):
    gone(lab, "a", {"model": "huge"}, {"model": "tiny"})
    gone(lab, "b", {"weights": {"w": 2.0}})

    assigned = assign(lab)

    assert assigned.weights == {"w": 2.0}
    assert [(each.layer, each.fallback) for each in assigned.exposures] == [("a", "model"), ("b", "")]


def test_an_arm_within_one_that_cannot_be_served_is_not_served_either(lab):
    above = layer(all_in("above", arm={"weights": {"w": 6.0}}))
    below = layer(all_in("below", arm={"weights": {"v": 1.0}}), within=within("a", "above", "only"))
    with_layers(lab, a=above, b=below)

    assigned = assign(lab)

    assert assigned.weights == {}
    assert [each.fallback for each in assigned.exposures] == ["weights", "other_arm"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"weights": {"w": 2.0}}, {"weights": {"w": 3.0}}),
        ({"profile": "new"}, {"profile": "other"}),
        ({"profile": "new"}, {"weights": {"w": 3.0}}),
        ({"weights": {"w": 2.0}}, {"profile": "new"}),
        ({"model": "big"}, {"model": "tiny"}),
    ],
)
def test_of_two_layers_that_two_processes_made_overlap_the_first_by_name_counts(lab, first, second):
    on = {"model": "tiny"}
    gone(lab, "one", first, on)
    alone = assign(lab)
    gone(lab, "two", second, on)

    both = assign(lab)

    assert (both.model, both.profile, both.weights) == (alone.model, alone.profile, alone.weights)
    assert [each.fallback for each in both.exposures] == ["", "other_arm"]


def test_a_profile_that_loses_a_weight_while_an_experiment_runs_sends_its_arm_back_to_the_control(lab):
    lab.put("one", layer(all_in(arm={"weights": {"w": 2.0}})))
    before = assign(lab)
    lab.profile("default", "ctr")

    after_change = assign(lab)
    lab.profile("default", "w * ctr", w={"value": 1.0, "max": 1.5})
    narrowed = assign(lab)
    lab.profile("default", "w * ctr", w=1.0)

    assert (before.weights, after_change.weights, narrowed.weights) == ({"w": 2.0}, {}, {})
    assert [each.fallback for each in after_change.exposures + narrowed.exposures] == ["weights", "weights"]
    assert assign(lab).weights == {"w": 2.0}


@pytest.mark.parametrize(
    ("field", "takes"),
    [
        (Categorical(name="topic", side="candidate", dtype="string", table="other"), True),
        (Categorical(name="topic", side="candidate", dtype="int", table="topic"), False),
        (Categorical(name="topic", side="request", dtype="string", table="topic"), False),
        (Vector(name="topic", side="candidate", dim=3), False),
        (Numeric(name="topic", side="candidate", scaling=Standard(mean=0, std=1)), False),
    ],
)  # fmt: skip
def test_another_model_is_served_only_where_it_takes_every_value_that_the_first_takes(lab, field, takes):
    features = lab.catalog.models["tiny"].manifest.features
    fields = (features.fields[0], field, features.fields[2])
    changed = features.model_construct(fields=fields, vocabularies=features.vocabularies)
    lab.catalog.models["odd"] = FakeModel()
    lab.catalog.models["odd"].manifest = manifest("odd").model_copy(update={"features": changed})
    gone(lab, "one", {"model": "odd"}, {"model": "tiny"})

    assert assign(lab).model == ("odd" if takes else "tiny")


# --- afterwards ---


def test_every_arm_of_a_ranked_request_is_told_with_how_long_it_took(lab):
    lab.put("one", layer(experiment(share=0.5), holdout=0.5))
    groups = set()
    for unit in EVERYONE:
        assigned = assign(lab, query(unit, model="tiny"))
        ranked = Ranked(model=lab.catalog.models["tiny"], scores=np.zeros(1), values=lambda _: {}, seconds=0.25)
        lab.parts.chooser.ranked(assigned, ranked)
        groups |= {(exposure.experiment, exposure.arm) for exposure in assigned.exposures}

    assert groups == {("holdout", "holdout"), ("formula", "control"), ("formula", "new")}
    assert len(lab.observer.exposures) == len(EVERYONE)
    assert {seconds for _, seconds in lab.observer.exposures} == {0.25}


def test_a_layer_that_ends_leaves_its_requests_as_they_were(lab):
    lab.put("one", layer(all_in(arm={"profile": "new"}, ends_at=after(1).isoformat())))
    during = assign(lab)
    lab.now.now = after(1)

    assert (during.profile, assign(lab)) == ("new", Assignment(model="tiny", profile="default", weights={}))
    assert lab.book.revision_of(FAMILY + "one") == 1
