"""The fusion in force."""

import pytest

from contract.plan import FusionPlan, Temporary
from service.errors import (
    ModelRejected,
    ProfileMismatch,
    UnknownProfile,
    UnreadableDocument,
)
from service.revisions import Revision
from tests.fusion_desk import BOUNDED, CTR, HOUR, LIKE, NOON, Desk, in_force, window, without

# --- what is in force ---


def test_a_profile_that_is_not_there_is_named_with_those_that_are(desk, model):
    desk.put(CTR)

    with pytest.raises(UnknownProfile, match="nobody") as refused:
        desk.book.current("nobody", model)

    assert "default" in refused.value.fix
    assert refused.value.path == "/profile"


def test_the_next_request_uses_what_was_written(desk, model):
    written = desk.put(LIKE)

    now = desk.book.current("default", model)
    assert (now.revision, now.variant, now.fusion.profile) == (1, "base", LIKE)
    assert now.fusion.reads == {"like"}
    assert desk.store.latest() == {"fusion/default": written.revision}


def test_a_request_that_holds_a_revision_keeps_it_while_another_is_written(desk, model):
    desk.put(CTR)
    held = desk.book.current("default", model)

    desk.put(LIKE, saw=1)

    assert (held.revision, held.fusion.profile) == (1, CTR)


def test_an_older_revision_that_comes_late_changes_nothing(desk, model):
    first = desk.put(CTR)
    desk.put(LIKE, saw=1)

    desk.book.apply(first.revision)

    assert in_force(desk, model) == (2, "base", LIKE)


@pytest.mark.parametrize("document", ["{", "[]", '{"profile": {"formula": ""}}', '{"schema_version": 2}'])
def test_a_revision_that_cannot_be_read_leaves_the_last_good_one_in_force(desk, model, document):
    good = desk.put(CTR).revision
    torn = Revision(**{**vars(good), "revision": 2, "sequence": 2, "document": document})

    with pytest.raises(UnreadableDocument, match="revision 2 of fusion/default"):
        desk.book.apply(torn)

    assert in_force(desk, model) == (1, "base", CTR)


def test_a_profile_that_reads_what_the_model_lacks_does_not_fit_it(desk, model):
    desk.put(LIKE, name="likes")

    with pytest.raises(ProfileMismatch, match="likes"):
        desk.book.current("likes", without(model, "like", version=1, name="other"))


# --- models that come and go ---


def test_a_version_under_which_a_live_profile_would_break_is_refused(desk, model):
    desk.put(LIKE, name="likes")

    with pytest.raises(ModelRejected, match="likes"):
        desk.book.check_model(without(model, "like"), model)


def test_a_version_under_which_a_window_to_come_would_break_is_refused(desk, model):
    desk.put(CTR)
    desk.do("schedule", "default", window(), saw=1)

    with pytest.raises(ModelRejected, match="schedule:campaign"):
        desk.book.check_model(without(model, "like"), model)
    desk.clock.now = NOON + 2 * HOUR
    desk.book.check_model(without(model, "like"), model)


def test_a_version_that_keeps_what_the_live_profiles_read_is_accepted(desk, model):
    desk.put(CTR)

    desk.book.check_model(without(model, "like"), model)


def test_a_first_model_and_a_profile_that_never_fitted_break_nothing(desk, model):
    desk.put(LIKE, name="likes")
    poor = without(model, "like", version=1, name="other")

    desk.book.check_model(poor, None)
    desk.book.check_model(without(model, "like", version=2, name="other"), poor)


def test_temporary_changes_and_schedules_survive_a_restart(desk, model):
    desk.put(CTR)
    desk.do("schedule", "default", window(), saw=1)
    desk.put(BOUNDED, saw=2, ttl_s=1800.0)

    again = Desk(model, store=desk.store)

    assert in_force(again, model) == (3, "temporary", BOUNDED)
    again.clock.now = NOON + HOUR
    assert in_force(again, model) == (3, "schedule:campaign", LIKE)
    assert again.book.standing("default").plan == FusionPlan(
        profile=CTR, temporary=Temporary(until=NOON + HOUR / 2, profile=BOUNDED), schedules=(window(),)
    )
