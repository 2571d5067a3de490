"""Experiments, as an operator runs them and as requests meet them, over the real app."""

import asyncio
import json
import re
import shlex
from collections import Counter

import httpx
import pytest
import structlog
from jsonschema import Draft202012Validator
from pydantic import SecretStr
from starlette.testclient import TestClient

from service.app import create_app
from service.components import build_components
from service.revisions import Change
from tests.conftest import ROOT, TOKEN
from tests.experimenting import units
from tests.factories import publish_tiny
from tests.fakes import PATIENCE_S

LAYER = "/v1/admin/experiments/ranking"
CONTROL = {"name": "control", "share": 0.5}
SPLIT = {"name": "likes", "share": 1.0, "arms": [CONTROL, {"name": "likes", "share": 0.5, "profile": "likes"}]}
HEAVY = {"name": "heavy", "share": 1.0, "arms": [{"name": "heavy", "share": 1.0, "weights": {"w": 2.0}}]}
FORMULA = {"formula": "w * ctr + like", "weights": {"w": {"value": 1.0, "min": 0.0, "max": 3.0}}}


def document(*experiments, **more):
    return {"unit": "user_id", "experiments": list(experiments), **more}


def match(revision):
    return {"If-Match": f'"{revision}"'}


def rank(client, example, user, **more):
    answer = client.post("/v1/rank", json=example | {"units": {"user_id": user}, "return": ["heads"]} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def likes(write):
    """A profile beside the default one."""
    assert write({"formula": "like"}, profile="likes").status_code == 200


@pytest.fixture
def running(admin, likes):
    """An experiment on half of the users, with a holdout."""
    body = document(SPLIT | {"share": 0.8}, holdout=0.1, salt="2026", reason="first look")
    answer = admin.put(LAYER, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- requests ---


def test_users_are_split_ranked_by_their_arm_named_in_the_answer_and_counted(client, running, example):
    groups, scores = Counter(), {}
    for user in units(60):
        answer = rank(client, example, user)
        assert rank(client, example, user)["results"] == answer["results"]
        arms = answer.get("experiments", [])
        groups[arms[0]["arm"] if arms else "nothing"] += 1
        scores[(arms[0]["arm"] if arms else "nothing")] = answer

    assert set(groups) == {"control", "likes", "holdout", "nothing"}
    assert scores["likes"]["experiments"] == [
        {"layer": "ranking", "experiment": "likes", "arm": "likes", "propensity": 0.4}
    ]
    for group, answer in scores.items():
        assert answer["fusion"]["profile"] == ("likes" if group == "likes" else "default")
        best = answer["results"][0]
        assert (best["score"] == pytest.approx(best["heads"]["like"])) == (group == "likes")
    metrics = client.get("/metrics").text
    for arm in ("control", "likes"):
        labels = f'arm="{arm}",experiment="likes",layer="ranking"'
        assert f"fulcrum_experiment_requests_total{{{labels}}} {2.0 * groups[arm]}" in metrics
        assert f"fulcrum_experiment_rank_seconds_count{{{labels}}} {2.0 * groups[arm]}" in metrics


def test_without_experiments_an_answer_says_nothing_of_them(client, example):
    assert "experiments" not in rank(client, example, "u1")


def test_the_answer_of_a_request_in_an_arm_is_as_the_schema_says(client, running, example):
    schema = client.get("/openapi.json").json()
    response = schema["components"]["schemas"]["RankResponse"] | {"components": schema["components"]}

    for user in units(30):
        Draft202012Validator(response).validate(rank(client, example, user))


def test_a_field_of_the_request_assigns_as_well_and_a_request_without_one_is_in_nothing(admin, likes, example):
    admin.put(LAYER, json=document(SPLIT) | {"unit": "user"})

    named, unnamed = example["request"] | {"user": "u9"}, {**example["request"], "user": None}
    first = admin.post("/v1/rank", json=example | {"request": named}).json()
    again = admin.post("/v1/rank", json=example | {"request": unnamed, "units": {"user": "u9"}}).json()
    nobody = admin.post("/v1/rank", json=example | {"request": unnamed}).json()

    assert first["experiments"] == again["experiments"]
    assert "experiments" not in nobody
    assert 'fulcrum_experiment_units_missing_total{layer="ranking"} 1.0' in admin.get("/metrics").text


@pytest.mark.parametrize("bad", [1.5, True, None, ["u1"]])
def test_a_unit_that_is_neither_text_nor_a_whole_number_is_refused_with_its_place(client, example, bad):
    answer = client.post("/v1/rank", json=example | {"units": {"user_id": bad}})

    assert (answer.status_code, answer.json()["path"]) == (422, "/units/user_id")


def test_an_arms_weights_make_the_scores_and_the_explanation_adds_up_under_them(admin, write, example):
    write(FORMULA)
    admin.put(LAYER, json=document(HEAVY))

    by_arm = rank(admin, example, "u1", **{"return": ["heads", "explain"]})
    by_request = rank(admin, example, "u1", weights={"w": 0.0})

    for result in by_arm["results"]:
        heads = result["heads"]
        assert result["score"] == pytest.approx(2.0 * heads["ctr"] + heads["like"])
        assert sum(term["value"] for term in result["explain"]["parts"]) == pytest.approx(result["score"])
    for result in by_request["results"]:
        assert result["score"] == pytest.approx(result["heads"]["like"])


def test_an_arm_whose_weight_is_gone_is_ranked_as_the_control_says_so_and_is_counted(admin, write, example):
    write(FORMULA)
    admin.put(LAYER, json=document(HEAVY))
    write({"formula": "like"})

    answer = rank(admin, example, "u1")

    assert answer["experiments"][0]["fallback"] == "weights"
    assert answer["results"][0]["score"] == pytest.approx(answer["results"][0]["heads"]["like"])
    labels = 'arm="heavy",experiment="heavy",layer="ranking",reason="weights"'
    assert f"fulcrum_experiment_fallbacks_total{{{labels}}} 1.0" in admin.get("/metrics").text


def test_the_line_of_a_request_in_the_log_names_its_arms(client, running, example):
    with structlog.testing.capture_logs() as lines:
        answers = [rank(client, example, user) for user in units(20)]

    logged = [line.get("experiments") for line in lines if line["event"] == "request"]
    assert logged == [answer.get("experiments") for answer in answers]
    assert any(logged)


def test_an_arm_of_another_model_is_answered_by_it(settings, tmp_path):
    models = tmp_path / "models"
    publish_tiny(models, "small")
    publish_tiny(models, "big", gain=2.0)
    arms = [CONTROL, {"name": "big", "share": 0.5, "model": "big"}]
    body = document({"name": "model", "share": 1.0, "arms": arms, "on": {"model": "small"}})
    asked = {"model": "small", "candidates": {"item_id": ["i1", "i2"], "topic": ["a", "b"], "price": [1.0, 3.0]}}
    with TestClient(create_app(settings.model_copy(update={"models_dir": models}))) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert client.put(LAYER, json=body).status_code == 200
        answers = [rank(client, asked, user) for user in units(20)]
        named = rank(client, asked | {"model": "big"}, "u1")

    assert {(each["experiments"][0]["arm"], each["model"]["name"]) for each in answers} == {
        ("control", "small"),
        ("big", "big"),
    }
    assert "experiments" not in named


def test_a_shadow_is_scored_after_the_answer_has_been_written_and_measured(settings, likes, example, admin):
    """The app alone, so that the order of what it sends and of what it scores can be seen."""
    parts = build_components(settings)
    events = []

    class Watching:
        def __getattr__(self, name):
            return getattr(parts.metrics.experiments, name)

        def observe_shadow(self, exposure, **change):
            events.append(("shadow", exposure.arm, change))

    parts.experiments.shadows._observer = Watching()
    app = create_app(settings, parts)
    body = document(
        {"name": "look", "share": 1.0, "arms": [{"name": "s", "share": 1.0, "profile": "likes", "shadow": True}]}
    )
    assert admin.put(LAYER, json=body).status_code == 200

    async def wrapped(scope, receive, send):
        async def noted(message):
            events.append((message["type"],))
            await send(message)

        await app(scope, receive, noted)

    async def run():
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=wrapped)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                answer = await client.post("/v1/rank", json=example | {"units": {"user_id": "u1"}})
            await asyncio.wait_for(parts.experiments.shadows.settled(), PATIENCE_S)
        return answer.json()

    answer = asyncio.run(run())

    assert answer["fusion"]["profile"] == "default"
    assert answer["experiments"][0]["shadow"] is True
    assert [event[0] for event in events] == ["http.response.start", "http.response.body", "shadow"]
    assert set(events[2][2]) == {"top_overlap", "kendall_tau", "first_changed"}


# --- operators ---


def test_a_layer_says_what_was_written_who_has_which_buckets_and_its_etag_is_its_revision(admin, running):
    answer = admin.get(LAYER)

    state = answer.json()
    assert answer.headers["etag"] == '"1"'
    assert (state["author"], state["reason"], state["revision"], state["stale"]) == ("admin", "first look", 1, "")
    assert state["buckets"] == {"holdout": [[0, 1000]], "likes": [[1000, 9000]]}
    assert (state["document"]["salt"], state["document"]["holdout"]) == ("2026", 0.1)
    assert state == running
    assert admin.get("/v1/admin/experiments").json() == {"layers": [state]}


def test_what_was_read_can_be_written_back_as_it_is(admin, running):
    body = admin.get(LAYER).json()["document"]

    answer = admin.put(LAYER, json=body, headers=match(1))

    assert answer.status_code == 200, answer.text
    assert (answer.json()["document"], answer.json()["buckets"]) == (body, running["buckets"])


def test_a_change_says_what_it_saw_or_is_refused_and_the_second_of_two_hears_of_the_first(admin, running):
    blind = admin.put(LAYER, json=document())
    first = admin.put(LAYER, json=document(SPLIT | {"share": 0.9}, holdout=0.1, salt="2026"), headers=match(1))
    second = admin.put(LAYER, json=document(), headers=match(1))
    gone = admin.delete(LAYER)

    assert (blind.status_code, blind.json()["code"]) == (428, "precondition_missing")
    assert (first.status_code, first.headers["etag"]) == (200, '"2"')
    assert (second.status_code, second.json()["code"]) == (409, "revision_conflict")
    assert "revision 2, written by admin" in second.json()["detail"]
    assert gone.status_code == 428


def test_a_layer_that_was_taken_away_lets_go_of_its_users_and_keeps_its_history(admin, running, example):
    gone = admin.delete(LAYER, headers=match(1), params={"reason": "decided"})

    assert (gone.status_code, gone.json()["document"], gone.headers["etag"]) == (200, None, '"2"')
    assert admin.get(LAYER).status_code == 404
    assert not [user for user in units(20) if "experiments" in rank(admin, example, user)]
    history = admin.get(f"{LAYER}/history").json()
    assert [(each["revision"], each["action"], each["reason"]) for each in history["revisions"]] == [
        (2, "delete", "decided"),
        (1, "put", "first look"),
    ]
    assert admin.put(LAYER, json=document(SPLIT)).json()["revision"] == 3


def test_the_history_tells_every_change_leaf_by_leaf_page_by_page(admin, running):
    admin.put(LAYER, json=document(SPLIT | {"share": 0.9}, holdout=0.1, salt="2026"), headers=match(1))

    page = admin.get(f"{LAYER}/history", params={"limit": 1}).json()
    rest = admin.get(f"{LAYER}/history", params={"before": page["next_before"]}).json()

    changes = page["revisions"][0]["changes"]
    assert {"path": "/layer/experiments/likes/share", "before": 0.8, "after": 0.9} in changes
    assert [each["revision"] for each in rest["revisions"]] == [1]


def test_an_experiment_that_overlaps_with_one_of_another_layer_is_refused_with_both(admin, running):
    answer = admin.put("/v1/admin/experiments/second", json=document(SPLIT | {"name": "again", "share": 0.1}))

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "overlapping_experiments")
    assert "'likes' of layer 'ranking' and 'again' of layer 'second'" in problem["detail"]
    assert problem["fix"]
    assert admin.get("/v1/admin/experiments/second").status_code == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"unit": ""}, "/unit"),
        ({"experiments": [SPLIT | {"share": 1.5}]}, "/experiments/0/share"),
        ({"experiments": [SPLIT | {"arms": []}]}, "/experiments/0/arms"),
        ({"experiments": [SPLIT | {"arms": [CONTROL]}]}, "/experiments/0"),
        ({"experiments": [SPLIT | {"arms": [{"name": "x", "share": 1.0, "profile": "no"}]}]}, "/experiments/0/arms/0"),
        ({"sault": "x"}, "/sault"),
        ({"within": {"layer": "no", "experiment": "no", "arm": "no"}}, "/within"),
        ({"reason": 7}, "/reason"),
    ],
)  # fmt: skip
def test_a_layer_that_cannot_be_is_refused_with_the_place_and_how_to_mend_it(admin, likes, body, path):
    answer = admin.put(LAYER, json=document(SPLIT) | body)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["path"]) == (422, "invalid_experiment", path)
    assert problem["detail"]
    assert problem["fix"]


@pytest.mark.parametrize("name", ["-", "a b", "ü", "x" * 65])
def test_a_layer_has_a_plain_name(admin, name):
    assert admin.put(f"/v1/admin/experiments/{name}", json=document()).json()["code"] == "invalid_experiment"


def test_the_assignment_of_a_unit_is_the_one_that_its_requests_get(admin, running, example):
    for user in units(20):
        shown = admin.get("/v1/admin/experiments:assignment", params={"user_id": user}).json()["assignments"]
        arms = rank(admin, example, user).get("experiments")

        assert [each["layer"] for each in shown] == ["ranking"]
        if arms is None:
            assert (shown[0]["arm"], shown[0]["note"] != "") == (None, True)
        else:
            assert {key: shown[0][key] for key in ("layer", "experiment", "arm", "propensity")} == arms[0]


def test_the_assignment_explains_domains_and_what_is_missing_and_refuses_what_no_layer_reads(admin, running):
    inner = {"name": "inner", "share": 1.0, "on": {"profile": "likes"}, "arms": [CONTROL | {"share": 1.0}]}
    below = document(inner) | {"within": {"layer": "ranking", "experiment": "likes", "arm": "likes"}, "unit": "session"}
    assert admin.put("/v1/admin/experiments/below", json=below).status_code == 200

    def shown(**given):
        return admin.get("/v1/admin/experiments:assignment", params=given).json()

    found = [shown(user_id=user, session="s1")["assignments"] for user in units(40)]
    unknown = admin.get("/v1/admin/experiments:assignment", params={"user": "u1"})

    for above, inside in found:
        if above["arm"] == "likes":
            assert (inside["arm"], inside["propensity"]) == ("control", 0.4)
        else:
            assert inside["note"] == "not in arm 'likes' of 'likes' of layer 'ranking'"
    assert shown()["assignments"][0]["note"] == "no value for 'user_id' was given"
    assert (unknown.status_code, "session, user_id" in unknown.json()["fix"]) == (422, True)


def test_only_the_scope_fusion_changes_experiments_and_every_change_is_audited(settings, admin, running):
    with structlog.testing.capture_logs() as lines:
        admin.put(LAYER, json=document())
        admin.delete(LAYER, headers=match(1), params={"reason": "decided"})
    del admin.headers["Authorization"]

    assert admin.get(LAYER).status_code == 401
    assert admin.put(LAYER, json=document()).status_code == 401
    audit = [(line["method"], line["result"], line["reason"]) for line in lines if line["event"] == "audit"]
    assert audit == [("PUT", "refused", ""), ("DELETE", "written", "decided")]


def test_a_writer_can_wait_until_another_process_assigns_by_the_change_too(settings, admin, likes, example):
    with TestClient(create_app(settings)) as other:
        answer = admin.put(f"{LAYER}?wait=all", json=document(SPLIT))
        theirs = [rank(other, example, user).get("experiments") for user in units(20)]

    state = answer.json()["convergence"]
    assert (answer.status_code, len(state["processes"]), state["behind"]) == (200, 2, [])
    assert theirs == [rank(admin, example, user).get("experiments") for user in units(20)]


def test_a_torn_revision_leaves_users_where_they_are_and_is_named(settings, example, write, admin):
    write({"formula": "like"}, profile="likes")
    parts = build_components(settings)
    with TestClient(create_app(settings, parts)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        client.put(LAYER, json=document(SPLIT))
        before = [rank(client, example, user).get("experiments") for user in units(20)]
        torn = Change(name="experiments/ranking", document='{"layer": ', expected=1, author="a broken disk")
        with pytest.raises(Exception, match="cannot be read"):
            parts.experiments.book.apply(parts.store.append(torn))

        assert [rank(client, example, user).get("experiments") for user in units(20)] == before
        assert "revision 2 of experiments/ranking cannot be read" in client.get(LAYER).json()["stale"]
        assert client.put(LAYER, json=document(SPLIT), headers=match(2)).json()["stale"] == ""


# --- the page ---


def test_the_commands_of_the_page_work_one_after_the_other(settings):
    page = (ROOT / "docs" / "how-to" / "run-an-experiment.md").read_text()
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in _commands(block)]
    with TestClient(create_app(settings.model_copy(update={"admin_token": SecretStr("secret")}))) as client:
        statuses = [_run(client, command) for command in commands]

    assert len(commands) == 7
    assert statuses == [200] * len(commands)


def _commands(block):
    joined = block.replace("\\\n", " ")
    return [f"curl {each}".strip() for each in re.split(r"(?:^|\n)curl ", joined) if each.strip()]


def _run(client, command):
    words = shlex.split(command)[1:]
    method, headers, content, url = "GET", {}, None, None
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            content = words.pop(0)
            json.loads(content)
        else:
            url = word.removeprefix("http://127.0.0.1:8000")
    return client.request(method, url, headers=headers, content=content).status_code
