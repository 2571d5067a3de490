"""The admin API, as an operator uses it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from starlette.testclient import TestClient

from service.app import create_app
from service.tokens import digest_of
from tests.conftest import TOKEN
from tests.learned import publish

FORMULA = {"formula": "w * ctr + like", "weights": {"w": {"value": 0.5, "min": 0.0, "max": 1.0, "step": 0.25}}}

LEARNED = {"kind": "model", "model": "tiny", "version": 1}


def match(revision):
    return {"If-Match": f'"{revision}"'}


def hours_from_now(hours):
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


@pytest.fixture
def written(write):
    """The default profile as this file's tests find it: revision 2."""
    answer = write(FORMULA | {"reason": "start of the test"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_profile_says_what_it_is_who_wrote_it_and_why_and_its_etag_is_its_revision(admin, written):
    answer = admin.get("/v1/admin/fusion/default")

    state = answer.json()
    assert answer.headers["etag"] == '"2"'
    assert (state["formula"], state["weights"]) == (FORMULA["formula"], FORMULA["weights"])
    assert (state["author"], state["reason"], state["action"]) == ("admin", "start of the test", "put")
    assert state["in_force"] == {"variant": "base", "until": None}
    assert state == written | {"convergence": state["convergence"]}


def test_a_change_that_does_not_say_what_it_saw_is_refused_with_how_to_say_it(admin, written):
    answer = admin.put("/v1/admin/fusion/default", json={"formula": "ctr"})

    assert (answer.status_code, answer.json()["code"]) == (428, "precondition_missing")
    assert 'If-Match: "2"' in answer.json()["fix"]


def test_of_two_operators_who_saw_the_same_revision_the_second_is_told_of_the_first(admin, written):
    first = admin.put("/v1/admin/fusion/default", json={"formula": "ctr", "reason": "clicks"}, headers=match(2))
    second = admin.put("/v1/admin/fusion/default", json={"formula": "like"}, headers=match(2))

    assert (first.status_code, first.headers["etag"]) == (200, '"3"')
    assert (second.status_code, second.json()["code"]) == (409, "revision_conflict")
    assert "revision 3, written by admin" in second.json()["detail"]
    assert "clicks" in second.json()["detail"]
    assert admin.get("/v1/admin/fusion/default").json()["formula"] == "ctr"


@pytest.mark.parametrize("header", ["", "*", "two", '"0"', '"-1"', "1.5", '"1", "2"'])
def test_an_if_match_that_is_no_revision_is_refused(admin, written, header):
    answer = admin.put("/v1/admin/fusion/default", json={"formula": "ctr"}, headers={"If-Match": header})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_profile")


def test_weights_are_turned_within_their_bounds(admin, written, client, example):
    turned = admin.patch("/v1/admin/fusion/default/weights", json={"weights": {"w": 0.75}}, headers=match(2))
    refused = admin.patch("/v1/admin/fusion/default/weights", json={"weights": {"w": 0.8}}, headers=match(3))

    assert turned.json()["weights"] == {"w": {"value": 0.75, "min": 0.0, "max": 1.0, "step": 0.25}}
    assert (refused.status_code, refused.json()["path"]) == (422, "/weights/w")
    best = client.post("/v1/rank", json=example).json()["results"][0]
    assert best["score"] == pytest.approx(0.75 * best["heads"]["ctr"] + best["heads"]["like"])


def test_a_formula_of_units_that_do_not_go_together_is_kept_with_a_warning_at_its_place(admin, written):
    odd = admin.put("/v1/admin/fusion/default", json={"formula": "ctr + duration_seconds"}, headers=match(2)).json()
    fine = admin.put("/v1/admin/fusion/default", json={"formula": "ctr + log1p(duration_seconds)"}, headers=match(3))

    (warning,) = odd["warnings"]
    assert "seconds" in warning["detail"]
    assert (warning["variant"], warning["position"] >= 1, bool(warning["fix"])) == ("base", True, True)
    assert fine.json()["warnings"] == []


def test_a_weight_of_exactly_zero_is_zero_and_not_unset(admin, written, client, example):
    admin.patch("/v1/admin/fusion/default/weights", json={"weights": {"w": 0}}, headers=match(2))

    best = client.post("/v1/rank", json=example).json()["results"][0]

    assert best["score"] == pytest.approx(best["heads"]["like"])


def test_a_request_may_not_take_a_weight_out_of_its_bounds(written, client, example):
    answer = client.post("/v1/rank", json=example | {"weights": {"w": 2.0}})

    assert (answer.status_code, answer.json()["path"]) == (422, "/weights/w")


def test_the_history_tells_every_change_leaf_by_leaf_page_by_page(admin, written):
    admin.patch("/v1/admin/fusion/default/weights", json={"weights": {"w": 0.75}, "reason": "up"}, headers=match(2))

    page = admin.get("/v1/admin/fusion/default/history", params={"limit": 2}).json()
    rest = admin.get("/v1/admin/fusion/default/history", params={"before": page["next_before"]}).json()

    assert [each["revision"] for each in page["revisions"] + rest["revisions"]] == [3, 2, 1]
    newest = page["revisions"][0]
    assert (newest["action"], newest["reason"], newest["author"]) == ("weights", "up", "admin")
    assert newest["changes"] == [{"path": "/profile/weights/w/value", "before": 0.5, "after": 0.75}]
    assert {"path": "/profile/formula", "before": rest["revisions"][0]["plan"]["profile"]["formula"],
            "after": FORMULA["formula"]} in page["revisions"][1]["changes"]  # fmt: skip
    assert (rest["revisions"][0]["author"], rest["next_before"]) == ("bundle", None)


def test_a_rollback_puts_back_what_was_and_the_history_keeps_both(admin, written, client, example):
    before = client.post("/v1/rank", json=example).json()
    admin.put("/v1/admin/fusion/default", json={"formula": "0 - like"}, headers=match(2))

    back = admin.post("/v1/admin/fusion/default/rollback", json={"reason": "clicks fell"}, headers=match(3))

    after = client.post("/v1/rank", json=example).json()
    assert back.json()["reason"] == "to revision 2: clicks fell"
    assert after["results"] == before["results"]
    assert after["fusion"]["revision"] == 4
    revisions = admin.get("/v1/admin/fusion/default/history").json()["revisions"]
    assert [each["action"] for each in revisions] == ["rollback", "put", "put", "put"]


def test_a_temporary_change_says_until_when_and_what_answers_used(admin, written, client, example):
    answer = admin.put("/v1/admin/fusion/default", json={"formula": "like", "ttl_s": 3600}, headers=match(2))

    state = answer.json()
    assert state["formula"] == FORMULA["formula"]
    assert state["in_force"] == {"variant": "temporary", "until": state["temporary"]["until"].replace("Z", "+00:00")}
    assert client.post("/v1/rank", json=example).json()["fusion"] == {
        "profile": "default",
        "revision": 3,
        "variant": "temporary",
    }


def test_a_schedule_is_written_is_in_force_in_its_window_and_can_be_cancelled(admin, written, client, example):
    body = {"formula": "0 - like", "starts_at": hours_from_now(-1), "ends_at": hours_from_now(1), "reason": "campaign"}

    open_now = admin.put("/v1/admin/fusion/default/schedules/campaign", json=body, headers=match(2))
    used = client.post("/v1/rank", json=example).json()["fusion"]
    cancelled = admin.delete("/v1/admin/fusion/default/schedules/campaign", headers=match(3))

    assert open_now.json()["in_force"]["variant"] == used["variant"] == "schedule:campaign"
    assert cancelled.json()["in_force"]["variant"] == "base"
    assert cancelled.json()["schedules"] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"starts_at": "2026-01-01T00:00:00"}, "timezone"),
        ({"starts_at": "soon"}, "datetime"),
        ({"ends_at": "2020-01-01T00:00:00Z", "starts_at": "2019-01-01T00:00:00Z"}, "over already"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends before it starts"),
        ({"formula": "ctr *"}, "not an expression"),
    ],
)
def test_a_schedule_that_can_never_work_is_refused_when_it_is_written(admin, written, change, says):
    body = {"formula": "like", "starts_at": hours_from_now(1), "ends_at": hours_from_now(2)} | change

    answer = admin.put("/v1/admin/fusion/default/schedules/campaign", json=body, headers=match(2))

    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert answer.json()["fix"]


def test_a_writer_can_wait_until_every_live_process_has_applied_the_change(admin, written):
    answer = admin.put("/v1/admin/fusion/default?wait=all", json={"formula": "like"}, headers=match(2))

    state = answer.json()["convergence"]
    assert (answer.status_code, state["converged"], state["behind"]) == (200, True, [])
    assert [process["applied"] for process in state["processes"]] == [state["sequence"]]
    assert admin.get("/v1/admin/convergence").json()["converged"]


def test_a_learned_profile_is_refused_where_none_is_served(admin, written):
    answer = admin.put(
        "/v1/admin/fusion/default", json={"kind": "model", "model": "ltr", "version": 1}, headers=match(2)
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_formula")
    assert "FULCRUM_FUSIONS_DIR" in answer.json()["fix"]


# --- who may do what ---


@pytest.fixture
def guarded(settings, tmp_path):
    """An app that knows a token a scope."""
    entries = [{"name": scope, "sha256": digest_of(f"the {scope} token"), "scopes": [scope]}
               for scope in ("read", "fusion", "model")]  # fmt: skip
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"tokens": entries}))
    changes = {"admin_tokens_file": path, "admin_token": None}
    with TestClient(create_app(settings.model_copy(update=changes)), raise_server_exceptions=False) as client:
        yield client


def bearer(scope):
    return {"Authorization": f"Bearer the {scope} token"}


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("model", 403), ("fusion", 200)])
def test_only_the_scope_fusion_changes_profiles_and_the_author_is_the_tokens_name(guarded, scope, status):
    answer = guarded.put("/v1/admin/fusion/default", json={"formula": "ctr"}, headers={**bearer(scope), **match(1)})
    state = guarded.get("/v1/admin/fusion/default", headers=bearer("read")).json()

    assert answer.status_code == status
    assert state["author"] == ("fusion" if status == 200 else "bundle")


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("fusion", 403), ("model", 200)])
def test_only_the_scope_model_has_new_bundles_loaded_at_once(guarded, scope, status):
    answer = guarded.post("/v1/admin/models/refresh", headers=bearer(scope))

    assert answer.status_code == status
    assert status == 403 or answer.json() == {"models": {"demo": 1}, "rejected": {}}


def test_a_token_that_nobody_gave_out_may_not_even_look(guarded):
    assert guarded.get("/v1/admin/fusion", headers=bearer("wrong")).status_code == 401


def test_every_change_and_every_refused_one_is_a_line_of_the_audit_log(guarded):
    with structlog.testing.capture_logs() as lines:
        headers = {**bearer("fusion"), **match(1)}
        guarded.put("/v1/admin/fusion/default", json={"formula": "ctr", "reason": "clicks"}, headers=headers)
        guarded.put("/v1/admin/fusion/default", json={"formula": "like", "reason": "again"}, headers=headers)

    audit = [line for line in lines if line["event"] == "audit"]
    assert [(line["who"], line["reason"], line["result"]) for line in audit] == [
        ("fusion", "clicks", "written"),
        ("fusion", "again", "refused"),
    ]
    assert audit[1]["code"] == "revision_conflict"
    assert "the fusion token" not in json.dumps(lines)


# --- learned fusions ---


@pytest.fixture
def learned(settings, tmp_path):
    """An app with a learned fusion on its shelf: score = ctr + 2 * price."""
    publish(tmp_path / "fusions")
    changed = settings.model_copy(update={"fusions_dir": tmp_path / "fusions"})
    with TestClient(create_app(changed), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def test_a_learned_fusion_ranks_the_next_request_and_a_formula_takes_over_again(learned, example):
    body = example | {"candidates": {"item_id": ["i1", "i2"], "price": [1.0, 5.0]}}

    put = learned.put("/v1/admin/fusion/default", json=LEARNED, headers=match(1))
    results = learned.post("/v1/rank", json=body).json()["results"]
    back = learned.post("/v1/admin/fusion/default/rollback", json={}, headers=match(2))

    assert (put.status_code, put.json()["kind"], put.json()["model"]) == (200, "model", "tiny")
    prices = {"i1": 1.0, "i2": 5.0}
    assert [each["item_id"] for each in results] == ["i2", "i1"]
    for each in results:
        assert each["score"] == pytest.approx(each["heads"]["ctr"] + 2 * prices[each["item_id"]], rel=1e-5)
    assert back.json()["kind"] == "formula"


def test_weights_of_a_learned_profile_cannot_be_turned(learned, example):
    learned.put("/v1/admin/fusion/default", json=LEARNED, headers=match(1))

    turned = learned.patch("/v1/admin/fusion/default/weights", json={"weights": {"w": 1.0}}, headers=match(2))
    own = learned.post("/v1/rank", json=example | {"weights": {"w": 1.0}})

    assert (turned.status_code, turned.json()["code"]) == (422, "invalid_profile")
    assert (own.status_code, own.json()["path"]) == (422, "/weights/w")


def test_a_learned_fusion_that_is_not_there_changes_nothing(learned, example):
    before = learned.post("/v1/rank", json=example).json()

    answer = learned.put("/v1/admin/fusion/default", json=LEARNED | {"version": 2}, headers=match(1))

    assert (answer.status_code, answer.json()["path"]) == (422, "/version")
    assert learned.post("/v1/rank", json=example).json()["results"] == before["results"]


def test_the_score_of_a_learned_fusion_has_no_parts_and_says_so_with_null(learned, example):
    learned.put("/v1/admin/fusion/default", json=LEARNED, headers=match(1))

    results = learned.post("/v1/rank", json=example | {"return": ["explain"]}).json()["results"]

    assert {each["explain"] for each in results} == {None}
