"""What was found goes into the service as a new revision, and never over somebody else's."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from contract.fusion import FusionProfile
from training.errors import ApplyConflict, ApplyError, SearchError
from training.fusing.apply import AdminApi, apply_model, apply_weights
from training.fusing.profiles import CurrentProfile

TOKEN = "t0ken"
FORMULA = "w1 * ctr + w2 * log_duration"


class FakeAdmin:
    """The admin API as far as the commands use it: revisions, ETag and If-Match, problems as JSON."""

    def __init__(self, **document):
        self.revisions = [document] if document else []
        self.author = "nobody"
        self.bodies = []
        self.app = Starlette(routes=[
            Route("/v1/admin/fusion/{name}", self.get, methods=["GET"]),
            Route("/v1/admin/fusion/{name}", self.put, methods=["PUT"]),
            Route("/v1/admin/fusion/{name}/weights", self.patch, methods=["PATCH"]),
        ])  # fmt: skip

    def write(self, document, author):
        self.revisions.append(document)
        self.author = author

    def _refusal(self, request):
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _problem(401, "unauthorized", "no such token")
        return None

    def _state(self):
        body = {"profile": "feed", "revision": len(self.revisions), **self.revisions[-1]}
        return JSONResponse(body, headers={"ETag": f'"{len(self.revisions)}"'})

    async def get(self, request):
        if refusal := self._refusal(request):
            return refusal
        return self._state() if self.revisions else _problem(404, "unknown_profile", "no such profile")

    async def put(self, request):
        return await self._change(request, lambda body: body)

    async def patch(self, request):
        return await self._change(request, lambda body: {**self.revisions[-1], "weights": body["weights"]})

    async def _change(self, request, changed):
        if refusal := self._refusal(request):
            return refusal
        tag = request.headers.get("if-match")
        if self.revisions and tag != f'"{len(self.revisions)}"':
            return _problem(409, "revision_conflict", f"{self.author} wrote revision {len(self.revisions)}")
        body = await request.json()
        self.bodies.append(body)
        self.write(changed(body), "me")
        return self._state()


def _problem(status, code, detail):
    body = {"code": code, "detail": detail, "fix": "mend it"}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


@pytest.fixture
def admin():
    return FakeAdmin(formula=FORMULA, weights={"w1": 1.0, "w2": 0.1}, non_finite="fail")


def _api(admin, token=TOKEN):
    return AdminApi(TestClient(admin.app), token, "feed")


def _start(revision=None, formula=FORMULA):
    return CurrentProfile(name="feed", revision=revision, profile=FusionProfile(formula=formula))


def test_found_weights_become_the_next_revision_with_their_reason(admin):
    before, written = apply_weights(_api(admin), _start(1), {"w1": 0.4, "w2": 0.9}, "point 3")

    assert written.revision == 2
    assert before.weight_values() == {"w1": 1.0, "w2": 0.1}
    assert admin.revisions[-1] == {"formula": FORMULA, "weights": {"w1": 0.4, "w2": 0.9}, "non_finite": "fail"}
    assert admin.bodies == [{"weights": {"w1": 0.4, "w2": 0.9}, "reason": "point 3"}]


def test_a_change_since_the_search_began_is_not_overwritten_and_said_by_whom(admin):
    admin.write({"formula": FORMULA, "weights": {"w1": 0.5, "w2": 0.5}}, "ann")

    with pytest.raises(ApplyConflict, match="ann wrote revision 2; nothing was written"):
        apply_weights(_api(admin), _start(1), {"w1": 0.4, "w2": 0.9}, "")

    assert len(admin.revisions) == 2


def test_a_change_between_reading_and_writing_is_not_overwritten(admin):
    api = _api(admin)
    read = api.read

    def late():
        state = read()
        admin.write({"formula": FORMULA, "weights": {"w1": 0.5, "w2": 0.5}}, "bob")
        return state

    api.read = late
    with pytest.raises(ApplyConflict, match="bob"):
        apply_weights(api, _start(), {"w1": 0.4, "w2": 0.9}, "")
    with pytest.raises(ApplyConflict, match="bob"):
        apply_model(api, "learned", 2, "")

    assert [revision["weights"]["w1"] for revision in admin.revisions] == [1.0, 0.5, 0.5]


def test_weights_of_another_formula_are_not_written(admin):
    with pytest.raises(SearchError, match="the weights are for 'w1 \\* ctr'"):
        apply_weights(_api(admin), _start(formula="w1 * ctr"), {"w1": 0.4}, "")

    assert len(admin.revisions) == 1


def test_a_learned_fusion_takes_the_profiles_place_and_keeps_its_policy(admin):
    written = apply_model(_api(admin), "learned", 2, "beats the formula")

    assert written.revision == 2
    assert admin.bodies == [
        {"kind": "model", "model": "learned", "version": 2, "non_finite": "fail", "reason": "beats the formula"}
    ]


def test_a_learned_fusion_may_be_the_first_revision_but_weights_may_not():
    admin = FakeAdmin()

    with pytest.raises(ApplyError, match="no profile 'feed'"):
        apply_weights(_api(admin), _start(), {"w1": 1.0}, "")
    assert apply_model(_api(admin), "learned", 1, "").revision == 1


def test_a_refusal_is_told_with_the_services_own_words(admin):
    with pytest.raises(ApplyError, match="unauthorized: no such token; mend it"):
        apply_weights(_api(admin, token="wrong"), _start(), {"w1": 1.0}, "")


def test_a_service_that_is_not_there_is_said_to_be_so():
    def nobody(request):
        raise httpx.ConnectError("refused")

    client = httpx.Client(base_url="http://gone", transport=httpx.MockTransport(nobody))

    with pytest.raises(ApplyError, match="http://gone did not answer"):
        apply_model(AdminApi(client, TOKEN, "feed"), "learned", 1, "")


def test_an_answer_that_is_no_json_is_an_error_and_no_crash():
    client = httpx.Client(
        base_url="http://odd", transport=httpx.MockTransport(lambda request: httpx.Response(502, text="<html>"))
    )

    with pytest.raises(ApplyError, match="502"):
        apply_model(AdminApi(client, TOKEN, "feed"), "learned", 1, "")
