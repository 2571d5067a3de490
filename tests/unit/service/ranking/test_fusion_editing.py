"""Every way to change a fusion."""

from datetime import timedelta

import pytest

from contract.errors import FormulaError
from contract.plan import FusionPlan
from service.errors import (
    InvalidProfile,
    PreconditionMissing,
    RevisionConflict,
    StoreUnavailable,
    UnknownRevision,
)
from service.ranking.fusions import FAMILY
from service.revisions import Change
from tests.fusion_desk import BOUNDED, CTR, HOUR, LIKE, NONSENSE, NOON, BrokenStore, Desk, in_force, window, without

# --- writing ---


def test_a_formula_that_no_model_can_use_never_reaches_the_store(desk):
    with pytest.raises(FormulaError):
        desk.put(NONSENSE)

    assert dict(desk.store.latest()) == {} == dict(desk.book.profiles())


def test_a_formula_that_one_of_several_models_can_use_is_kept(model):
    desk = Desk(without(model, "like", name="other"), model)

    desk.put(LIKE, name="likes")

    assert in_force(desk, model, "likes") == (1, "base", LIKE)


def test_while_no_model_serves_a_formula_cannot_be_checked_and_is_refused():
    with pytest.raises(FormulaError):
        Desk().put(CTR)


def test_what_could_not_be_kept_is_not_in_force(model):
    desk = Desk(model, store=BrokenStore())
    desk.put(CTR)
    desk.store.broken = True

    with pytest.raises(StoreUnavailable):
        desk.put(LIKE, saw=1)

    assert in_force(desk, model) == (1, "base", CTR)


def test_who_changes_what_exists_says_which_revision_he_saw(desk, model):
    desk.put(CTR)

    with pytest.raises(PreconditionMissing, match="revision 1"):
        desk.put(LIKE)

    assert in_force(desk, model) == (1, "base", CTR)


def test_who_saw_an_older_revision_is_told_who_changed_it_and_why(desk):
    desk.put(CTR)
    desk.put(LIKE, saw=1, by="bo", reason="more likes")

    with pytest.raises(RevisionConflict, match=r"bo.*more likes"):
        desk.put(CTR, saw=1)


def test_a_book_that_is_a_moment_behind_another_process_accepts_what_the_store_has(desk, model):
    desk.put(CTR)
    plan = FusionPlan(profile=LIKE).model_dump_json()
    desk.store.append(Change(name=FAMILY + "default", document=plan, expected=1, author="another process"))

    desk.put(BOUNDED, saw=2)

    assert in_force(desk, model) == (3, "base", BOUNDED)


# --- weights ---


def test_weights_are_turned_by_name_and_the_others_stay(desk, model):
    desk.put(BOUNDED)

    desk.do("set_weights", "default", {"w": 0.7}, saw=1)

    profile = in_force(desk, model)[2]
    assert profile.weight_values() == {"w": 0.7, "v": 1.0}
    assert profile.weights["w"].max == 1.0


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"w": 1.1}, "above max"),
        ({"w": -0.1}, "below min"),
        ({"w": 0.55}, "between the steps 0.5 and 0.6"),
        ({"x": 1.0}, "there is no weight 'x'"),
        ({"v": float("nan")}, "not a finite number"),
    ],
)
def test_a_weight_out_of_its_bounds_is_refused_and_nothing_changes(desk, model, values, says):
    desk.put(BOUNDED)

    with pytest.raises(FormulaError, match=says) as refused:
        desk.do("set_weights", "default", values, saw=1)

    assert refused.value.path == f"/weights/{next(iter(values))}"
    assert in_force(desk, model) == (1, "base", BOUNDED)


# --- what ends by itself ---


def test_a_change_with_a_time_to_live_reverts_by_itself(desk, model):
    desk.put(CTR)
    desk.put(LIKE, saw=1, ttl_s=3600.0)

    assert in_force(desk, model) == (2, "temporary", LIKE)
    desk.clock.now = NOON + HOUR - timedelta(microseconds=1)
    assert in_force(desk, model) == (2, "temporary", LIKE)
    desk.clock.now = NOON + HOUR
    assert in_force(desk, model) == (2, "base", CTR)


def test_a_change_without_an_end_ends_the_temporary_one(desk, model):
    desk.put(CTR)
    desk.put(LIKE, saw=1, ttl_s=3600.0)
    desk.put(BOUNDED, saw=2)

    assert in_force(desk, model) == (3, "base", BOUNDED)


def test_turning_a_weight_of_a_temporary_change_keeps_its_end(desk, model):
    desk.put(CTR)
    desk.put(LIKE, saw=1, ttl_s=3600.0)
    desk.do("set_weights", "default", {"w": 5.0}, saw=2)

    assert in_force(desk, model)[2].weight_values() == {"w": 5.0}
    desk.clock.now = NOON + HOUR
    assert in_force(desk, model) == (3, "base", CTR)


def test_a_new_profile_has_nothing_to_come_back_to(desk):
    with pytest.raises(InvalidProfile, match="nothing to come back to"):
        desk.put(CTR, ttl_s=60.0)


def test_a_schedule_takes_over_in_its_window_and_reverts_by_itself(desk, model):
    desk.put(CTR)
    desk.do("schedule", "default", window(), saw=1)

    seen = []
    for moment in (0 * HOUR, HOUR, 1.5 * HOUR, 2 * HOUR):
        desk.clock.now = NOON + moment
        seen.append(in_force(desk, model))

    assert seen == [(2, "base", CTR), (2, "schedule:campaign", LIKE), (2, "schedule:campaign", LIKE), (2, "base", CTR)]


def test_a_change_meanwhile_keeps_the_schedule_and_comes_back_after_it(desk, model):
    desk.put(CTR)
    desk.do("schedule", "default", window(), saw=1)
    desk.clock.now = NOON + HOUR
    desk.put(BOUNDED, saw=2)

    assert in_force(desk, model) == (3, "schedule:campaign", LIKE)
    desk.clock.now = NOON + 2 * HOUR
    assert in_force(desk, model) == (3, "base", BOUNDED)


def test_windows_never_overlap_and_one_may_begin_as_the_other_ends(desk):
    desk.put(CTR)
    desk.do("schedule", "default", window(), saw=1)

    with pytest.raises(InvalidProfile, match="'campaign' and 'other' overlap"):
        desk.do("schedule", "default", window("other", starts=1.5 * HOUR, ends=3 * HOUR), saw=2)
    desk.do("schedule", "default", window("next", starts=2 * HOUR, ends=3 * HOUR), saw=2)


def test_a_window_that_is_over_is_refused(desk):
    desk.put(CTR)

    with pytest.raises(InvalidProfile, match="over already"):
        desk.do("schedule", "default", window(starts=-2 * HOUR, ends=-HOUR), saw=1)


def test_a_scheduled_formula_that_no_model_can_use_is_refused_when_it_is_written(desk):
    desk.put(CTR)

    with pytest.raises(FormulaError) as refused:
        desk.do("schedule", "default", window(profile=NONSENSE), saw=1)

    assert refused.value.path == "/schedule:campaign/formula"


def test_an_open_window_can_be_cancelled(desk, model):
    desk.put(CTR)
    desk.do("schedule", "default", window(), saw=1)
    desk.clock.now = NOON + HOUR
    desk.do("cancel", "default", "campaign", saw=2)

    assert in_force(desk, model) == (3, "base", CTR)
    with pytest.raises(UnknownRevision, match="no schedule 'campaign'"):
        desk.do("cancel", "default", "campaign", saw=3)


# --- rolling back ---


def test_a_rollback_writes_the_revision_before_again_as_a_new_one(desk, model):
    desk.put(CTR)
    desk.put(LIKE, saw=1)

    written = desk.do("roll_back", "default", saw=2, reason="clicks fell")

    assert in_force(desk, model) == (3, "base", CTR)
    assert (written.revision.action, written.revision.reason) == ("rollback", "to revision 1: clicks fell")


def test_a_rollback_takes_any_earlier_revision_with_its_schedules_but_not_those_that_are_over(desk, model):
    desk.put(CTR)
    desk.do("schedule", "default", window(), saw=1)
    desk.do("schedule", "default", window("later", starts=3 * HOUR, ends=9 * HOUR), saw=2)
    desk.put(LIKE, saw=3)
    desk.do("cancel", "default", "later", saw=4)
    desk.clock.now = NOON + 2 * HOUR

    back = desk.do("roll_back", "default", saw=5, to=3)

    assert [schedule.name for schedule in back.plan.schedules] == ["later"]
    assert in_force(desk, model) == (6, "base", CTR)


@pytest.mark.parametrize("to", [0, 3, 9])
def test_a_rollback_to_what_is_not_earlier_is_refused(desk, to):
    desk.put(CTR)
    desk.put(LIKE, saw=1)
    desk.put(CTR, saw=2)

    with pytest.raises(UnknownRevision):
        desk.do("roll_back", "default", saw=3, to=to)
