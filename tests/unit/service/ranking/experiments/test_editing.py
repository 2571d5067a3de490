"""Changes of layers: what is refused, why, and what stays as it was."""

import asyncio

import pytest

from service.errors import (
    InvalidExperiment,
    OverlappingExperiments,
    PreconditionMissing,
    RevisionConflict,
    StoreUnavailable,
    UnknownLayer,
)
from service.ranking.experiments.book import FAMILY
from service.ranking.experiments.documents import Layer
from service.ranking.revising import Author
from service.revisions import Change
from service.stores.memory import MemoryRevisionStore
from tests.experimenting import Lab, after, experiment, layer, manifest, units, weighted, within
from tests.fakes import FakeModel

FEW = units(500)
BIG = {"name": "big", "share": 0.5, "model": "big"}
CONTROL = {"name": "control", "share": 0.5}
NEW = {"name": "new", "share": 0.5, "profile": "new"}


@pytest.fixture
def lab():
    lab = Lab(models=[FakeModel(), FakeModel(manifest=manifest("big"))])
    lab.profile("other", "w * ctr", w=1.0)
    return lab


def on_model(name="model", model="tiny", **more):
    return experiment(name, arms=[CONTROL, BIG], on={"model": model}, **more)


# --- overlaps ---


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (experiment(), experiment("again"), "both change the profile of requests for 'default'"),
        (on_model(), on_model("again"), "both change the model of requests for 'tiny'"),
        (
            weighted(),
            weighted("again", weights={"v": 1.0, "w": 3.0}),
            "both change the weight 'w' of profile 'default'",
        ),
        (experiment(), weighted(), "one changes the weight 'w' of profile 'default', where the other puts another"),
        (weighted(), experiment(), "one changes the weight 'w' of profile 'default', where the other puts another"),
        (weighted(on={"model": "tiny"}), weighted("again"), "both change the weight 'w'"),
        (
            weighted(starts_at=after(0).isoformat(), ends_at=after(2).isoformat()),
            weighted("again", ramp=[{"at": after(1).isoformat(), "share": 0.1}]),
            "both change the weight 'w'",
        ),
    ],
)
def test_two_layers_that_change_the_same_thing_are_refused_with_both_names_and_what_they_share(
    lab, first, second, says
):
    lab.put("one", layer(first))

    with pytest.raises(OverlappingExperiments) as refused:
        lab.put("two", layer(second))

    assert says in refused.value.detail
    assert f"{first['name']!r} of layer 'one' and {second['name']!r} of layer 'two'" in refused.value.detail
    assert "one layer, nest" in refused.value.fix
    assert set(lab.book.layers()) == {"one"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (weighted(), weighted("again", weights={"v": 1.0})),
        (weighted(), on_model()),
        (experiment(), on_model()),
        (experiment(), weighted("again", weights={"u": 2.0}, on={"profile": "new"})),
        (on_model(), on_model("back", model="big") | {"arms": [CONTROL, BIG | {"model": "tiny"}]}),
        (weighted(on={"model": "tiny"}), weighted("again", on={"model": "big"})),
        (weighted(ends_at=after(1).isoformat()), weighted("again", starts_at=after(1).isoformat())),
        (weighted(ends_at=after(1).isoformat()), weighted("again", ramp=[{"at": after(1).isoformat(), "share": 0.1}])),
        (experiment(), experiment("quiet", arms=[{"name": "s", "share": 1.0, "profile": "other", "shadow": True}])),
    ],
    ids=[
        "another weight", "a model", "a profile and a model", "a weight of another profile", "models of other requests",
        "requests for other models", "one after the other", "a ramp after the end", "a shadow",
    ],
)  # fmt: skip
def test_two_layers_that_never_change_the_same_thing_stand_beside_each_other(lab, first, second):
    lab.put("one", layer(first))
    lab.put("two", layer(second))

    assert set(lab.book.layers()) == {"one", "two"}


def test_experiments_of_one_layer_never_overlap(lab):
    lab.put("one", layer(experiment(share=0.5), weighted(share=0.5)))

    assert {len(arms) for arms in lab.arms(FEW)} == {1}


def test_layers_within_different_arms_never_meet_and_layers_within_the_same_one_do(lab):
    lab.put("above", layer(experiment(share=0.5, arms=[CONTROL, CONTROL | {"name": "same"}]), on_model(share=0.5)))
    lab.put("in_control", layer(weighted(), within=within("above", arm="control")))
    lab.put("in_same", layer(weighted(), within=within("above", arm="same")))
    lab.put("in_model", layer(weighted(on={"model": None}), within=within("above", "model", "control")))

    with pytest.raises(OverlappingExperiments, match="'weights' of layer 'in_same' and 'weights' of layer 'too'"):
        lab.put("too", layer(weighted(), within=within("above", arm="same")))


def test_a_layer_within_an_arm_meets_that_arm_and_no_other_of_its_layer(lab):
    lab.put("above", layer(weighted("heavy", share=0.5), weighted("other", share=0.5)))

    lab.put("below", layer(weighted(), within=within("above", "heavy", "control")))
    with pytest.raises(OverlappingExperiments, match="'heavy' of layer 'above' and 'weights' of layer 'below'"):
        lab.put("below", layer(weighted(), within=within("above", "heavy", "heavy")))
    lab.put("below", layer(weighted(weights={"v": 0.5}), within=within("above", "heavy", "heavy")))


def test_within_an_arm_that_ranks_by_a_new_profile_its_weights_can_be_tried(lab):
    lab.put("above", layer(experiment()))

    lab.put("below", layer(weighted(weights={"u": 2.0}, on={"profile": "new"}), within=within("above")))

    assert set(lab.book.layers()) == {"above", "below"}


# --- domains ---


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (within("nowhere"), "which there is not"),
        (within("above", "nothing"), "which there is not"),
        (within("above", arm="nobody"), "which there is not"),
        (within("above", "quiet", "s"), "a shadow that answers nobody"),
    ],
)
def test_a_domain_that_there_is_not_is_refused(lab, place, says):
    quiet = experiment("quiet", share=0.1, arms=[{"name": "s", "share": 1.0, "profile": "other", "shadow": True}])
    lab.put("above", layer(experiment(), quiet))

    with pytest.raises(InvalidExperiment, match=says) as refused:
        lab.put("below", layer(within=place))

    assert refused.value.path == "/within"


def test_a_circle_of_layers_is_refused(lab):
    aa = experiment("aa", share=1.0, arms=[{"name": "control", "share": 1.0}])
    lab.put("a", layer(aa))
    lab.put("b", layer(aa, within=within("a", "aa", "control")))
    lab.put("c", layer(aa, within=within("b", "aa", "control")))

    for name, above in (("a", "c"), ("a", "a"), ("b", "c")):
        with pytest.raises(InvalidExperiment, match="within itself"):
            lab.put(name, layer(aa, within=within(above, "aa", "control")))


def test_an_experiment_within_an_arm_has_to_be_on_what_that_arm_ranks_by(lab):
    lab.put("above", layer(experiment()))

    with pytest.raises(InvalidExperiment, match="never come to arm 'new'") as refused:
        lab.put("below", layer(weighted(), within=within("above")))

    assert "'profile': 'new'" in refused.value.fix
    assert refused.value.path == "/experiments/0/on"


def test_neither_a_layer_nor_an_arm_can_go_while_a_layer_is_within_it(lab):
    lab.put("above", layer(experiment()))
    lab.put("below", layer(within=within("above")))

    with pytest.raises(InvalidExperiment, match="layer 'below' is within arm 'new' of 'formula' of layer 'above'"):
        lab.put("above", layer(experiment("another")))
    with pytest.raises(InvalidExperiment, match="layer 'below' is within"):
        lab.delete("above")

    lab.delete("below")
    lab.delete("above")
    assert dict(lab.book.layers()) == {}


# --- what is served ---


@pytest.mark.parametrize(
    ("arms", "on", "says"),
    [
        ([CONTROL, {"name": "x", "share": 0.5, "profile": "nobody"}], {}, "its profile does not exist"),
        ([CONTROL, {"name": "x", "share": 0.5, "weights": {"z": 1.0}}], {}, "has not its weights"),
        ([CONTROL, {"name": "x", "share": 0.5, "weights": {"w": 9.0}}], {}, "not with such values"),
        ([CONTROL, {"name": "x", "share": 0.5, "weights": {"w": 1.0}}], {"profile": "nobody"}, "does not exist"),
        ([CONTROL, {"name": "x", "share": 0.5, "model": "huge"}], {"model": "tiny"}, "its model is not served"),
        ([CONTROL, {"name": "x", "share": 0.5, "model": "tiny"}], {"model": "huge"}, "its model is not served"),
        ([{"name": "x", "share": 1.0, "profile": "nobody", "shadow": True}], {}, "its profile does not exist"),
    ],
)
def test_an_arm_that_names_what_is_not_there_is_refused_with_its_place(lab, arms, on, says):
    with pytest.raises(InvalidExperiment, match=says) as refused:
        lab.put("one", layer(experiment(arms=arms, on=on)))

    assert refused.value.path == f"/experiments/0/arms/{len(arms) - 1}"


def test_a_model_that_does_not_take_what_the_other_takes_is_refused(lab):
    features = lab.catalog.models["big"].manifest.features
    poor = features.model_copy(update={"fields": features.fields[1:]})
    lab.catalog.models["big"] = FakeModel(manifest=manifest("big", features=poor))

    with pytest.raises(InvalidExperiment, match="does not take every field"):
        lab.put("one", layer(on_model()))
    lab.put("one", layer(on_model(model="big") | {"arms": [CONTROL, BIG | {"model": "tiny"}]}))


def test_an_experiment_that_is_over_may_name_what_is_gone(lab):
    over = experiment("over", share=0.1, ends_at=after(-1).isoformat()) | {
        "arms": [{"name": "x", "share": 1.0, "profile": "gone"}]
    }

    lab.put("one", layer(over, weighted()))

    assert lab.book.layer("one").revision.revision == 1


# --- what runs ---


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"salt": "again"}, "/salt"),
        ({"unit": "session_id"}, "/unit"),
        ({"experiments": [experiment(arms=[CONTROL | {"share": 0.4}, NEW | {"share": 0.6}])]}, "/experiments/0/arms"),
        ({"experiments": [weighted(), experiment(arms=[NEW, CONTROL])]}, "/experiments/1/arms"),
    ],
    ids=["salt", "unit", "shares", "order"],
)  # fmt: skip
def test_what_would_move_units_of_an_experiment_that_has_begun_is_refused(lab, change, path):
    lab.put("one", layer(experiment(share=0.4)))
    before = lab.arms(FEW)

    with pytest.raises(InvalidExperiment, match="'formula' has begun") as refused:
        document = {**layer(experiment(share=0.4)).model_dump(), **change}
        lab.put("one", Layer.model_validate(document))

    assert refused.value.path == path
    assert lab.arms(FEW) == before


def test_before_it_begins_an_experiment_can_still_be_cut_anew(lab):
    later = {"starts_at": after(1).isoformat()}
    lab.put("one", layer(experiment(**later)))
    thirds = [{"name": name, "share": 1 / 3} for name in ("control", "x", "y")]

    lab.put("one", layer(experiment(arms=thirds, **later), salt="again"))
    lab.now.now = after(1)

    assert {arms["one"][1] for arms in lab.arms(FEW) if arms} == {"control", "x", "y"}


def test_what_an_arm_does_can_change_while_it_runs(lab):
    lab.put("one", layer(weighted(weights={"w": 2.0})))
    before = lab.arms(FEW)

    lab.put("one", layer(weighted(weights={"w": 3.0})))

    assert lab.arms(FEW) == before


# --- revisions ---


def test_a_writer_says_what_it_saw_and_is_told_of_who_came_first(lab):
    lab.put("one", layer(experiment()), saw=None, reason="clicks")

    with pytest.raises(PreconditionMissing, match="revision 1 already"):
        lab.put("one", layer(), saw=None)
    with pytest.raises(RevisionConflict, match=r"revision 1, written by ana .*: clicks"):
        lab.put("one", layer(), saw=7)
    with pytest.raises(RevisionConflict, match="does not exist"):
        lab.put("two", layer(), saw=1)
    assert lab.put("one", layer(), saw=1).revision.revision == 2


def test_a_layer_that_was_taken_away_keeps_its_history_and_can_be_written_anew(lab):
    lab.put("one", layer(experiment()))
    gone = lab.delete("one")
    assert lab.book.is_empty

    again = lab.put("one", layer(experiment()), saw=None)

    history = asyncio.run(lab.parts.editor.history("one", before=None, limit=10))
    assert [(each.revision, each.action) for each in history] == [(3, "put"), (2, "delete"), (1, "put")]
    assert (gone.document, again.revision.revision) == ('{"deleted": true}', 3)


def test_what_is_not_there_can_neither_be_taken_away_nor_looked_back_at(lab):
    with pytest.raises(RevisionConflict, match="does not exist"):
        asyncio.run(lab.parts.editor.delete("one", author(saw=1)))
    with pytest.raises(UnknownLayer, match="no layer 'one'"):
        asyncio.run(lab.parts.editor.delete("one", author()))
    with pytest.raises(UnknownLayer, match="never was"):
        asyncio.run(lab.parts.editor.history("one", before=None, limit=10))


def author(saw=None):
    return Author(name="ana", saw=saw)


def test_a_change_is_checked_against_what_other_processes_wrote_a_moment_ago(lab):
    other = Lab(store=lab.store, models=list(lab.catalog.models.values()))
    other.put("one", layer(weighted()))

    with pytest.raises(OverlappingExperiments):
        lab.put("two", layer(weighted()))
    assert lab.put("one", layer(), saw=1).revision.revision == 2


def test_two_writers_at_once_of_layers_that_overlap_are_not_both_served(lab):
    async def both():
        return await asyncio.gather(
            lab.write("one", layer(weighted())), lab.write("two", layer(weighted())), return_exceptions=True
        )

    results = asyncio.run(both())

    assert sorted(type(result).__name__ for result in results) == ["LayerStanding", "OverlappingExperiments"]


def test_a_layer_whose_newest_revision_cannot_be_read_is_mended_by_writing_it_again(lab):
    lab.put("one", layer(experiment()))
    before = lab.arms(FEW)
    lab.store.append(Change(name=FAMILY + "one", document="{torn", expected=1, author="eve"))

    with pytest.raises(PreconditionMissing, match="revision 2"):
        lab.put("one", layer(experiment()), saw=None)
    lab.put("one", layer(experiment()), saw=2)

    assert lab.arms(FEW) == before
    assert dict(lab.book.stale()) == {}


def test_what_could_not_be_kept_is_not_in_force():
    class Full(MemoryRevisionStore):
        def append(self, change):
            if change.name.startswith(FAMILY):
                raise StoreUnavailable("the disk is full")
            return super().append(change)

    lab = Lab(store=Full())

    with pytest.raises(StoreUnavailable):
        lab.put("one", layer(experiment()))

    assert lab.book.is_empty
