"""Writes what was found as a new revision of a profile, through the service's admin API.

Nothing is overwritten: a write names the revision that the search began from (``If-Match``), and a service whose
profile has moved on since refuses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from contract.fusion import FusionProfile
from training.errors import ApplyConflict, ApplyError, SearchError
from training.fusing.profiles import CurrentProfile, parse_profile

__all__ = ["AdminApi", "Written", "apply_model", "apply_weights"]

_PROFILE = "/v1/admin/fusion/{}"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A revision that was written."""

    profile: str
    revision: int | None


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What is in force: its tag, and the document; no tag where there is no such profile yet."""

    tag: str | None
    document: Mapping[str, Any]


class AdminApi:
    """The fusion part of the admin API, for one profile.

    Args:
        client: Knows the service's address.
        token: Bearer token; "" sends none.
        profile: Name of the profile.
    """

    def __init__(self, client: httpx.Client, token: str, profile: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._path = _PROFILE.format(profile)
        self.profile = profile

    def read(self) -> _Read:
        """Read the profile in force.

        Raises:
            ApplyError: When the service does not answer, or refuses.
        """
        response = self._send("GET", self._path)
        if response.status_code == httpx.codes.NOT_FOUND:
            return _Read(tag=None, document={})
        return _Read(tag=response.headers.get("ETag"), document=self._accepted(response))

    def change_weights(self, weights: Mapping[str, float], reason: str, tag: str) -> Written:
        """Write new weights into the profile's formula.

        Raises:
            ApplyConflict: When the profile is another than *tag* says.
            ApplyError: When the service refuses otherwise.
        """
        return self._write("PATCH", f"{self._path}/weights", {"weights": dict(weights), "reason": reason}, tag)

    def replace(self, document: Mapping[str, Any], reason: str, tag: str | None) -> Written:
        """Write a whole profile; *tag* None where there is none yet.

        Raises:
            ApplyConflict: When the profile is another than *tag* says.
            ApplyError: When the service refuses otherwise.
        """
        return self._write("PUT", self._path, {**document, "reason": reason}, tag)

    def _write(self, method: str, path: str, body: Mapping[str, Any], tag: str | None) -> Written:
        headers = {"If-Match": tag} if tag is not None else {}
        answer = self._accepted(self._send(method, path, json=body, headers=headers))
        return Written(profile=self.profile, revision=answer.get("revision"))

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, headers={**self._headers, **(headers or {})}, **body)
        except httpx.HTTPError as error:
            raise ApplyError(f"{self._client.base_url} did not answer: {error}", fix="is the service there?") from error

    def _accepted(self, response: httpx.Response) -> dict[str, Any]:
        """Give the answer's document.

        Raises:
            ApplyConflict: On 409 and 412, with what the service says of who changed what.
            ApplyError: On any other refusal.
        """
        document = _document(response)
        if response.is_success:
            return document
        said = document.get("detail") or f"the service answered {response.status_code}"
        if response.status_code in (httpx.codes.CONFLICT, httpx.codes.PRECONDITION_FAILED):
            raise ApplyConflict(
                f"{said}; nothing was written", fix="search again from the profile in force, or look at its history"
            )
        raise ApplyError(f"{document.get('code', response.status_code)}: {said}", fix=document.get("fix", ""))


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def apply_weights(
    api: AdminApi, start: CurrentProfile, weights: Mapping[str, float], reason: str
) -> tuple[FusionProfile, Written]:
    """Write found weights into the formula that they were searched for.

    Args:
        start: Where the search began; with a revision of this very profile, that one must still be in force.

    Returns:
        The profile that was in force before, and what was written.

    Raises:
        ApplyConflict: When somebody changed the profile since.
        SearchError: When another formula is in force.
    """
    read = api.read()
    if read.tag is None:
        raise ApplyError(f"there is no profile {api.profile!r} whose weights could be changed", fix="write it first")
    before = parse_profile(dict(read.document), f"the profile {api.profile!r}").profile
    seen = start.revision if start.name == api.profile else None
    if before.formula != start.profile.formula and seen is None:
        raise SearchError(
            f"the formula in force is {before.formula!r}, the weights are for {start.profile.formula!r}",
            fix="search again from the profile in force",
        )
    tag = f'"{seen}"' if seen is not None else read.tag
    return before, api.change_weights(weights, reason, tag)


def apply_model(api: AdminApi, model: str, version: int, reason: str) -> Written:
    """Put a learned fusion in place of whatever the profile is now; its rule for scores that are not finite stays.

    Raises:
        ApplyConflict: When somebody changed the profile meanwhile.
    """
    read = api.read()
    inner = read.document.get("profile")
    policy = (inner if isinstance(inner, dict) else read.document).get("non_finite")
    document = {"kind": "model", "model": model, "version": version}
    return api.replace(document | ({"non_finite": policy} if policy else {}), reason, read.tag)
