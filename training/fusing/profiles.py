"""Fusion profiles from files: what an operator wrote, or what the admin API answered."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contract.frozen import Frozen
from contract.fusion import FusionProfile
from training.errors import SearchError

__all__ = ["CurrentProfile", "parse_profile", "read_profile"]


class CurrentProfile(Frozen):
    """A profile, and its place in the history where it has one.

    Args:
        name: Of the profile in the service; None for one that is in no service.
        revision: That it was read at.
    """

    name: str | None = None
    revision: int | None = None
    profile: FusionProfile


def read_profile(path: Path) -> CurrentProfile:
    """Read a JSON file: a profile by itself, or an answer of ``GET /v1/admin/fusion/{profile}``.

    Raises:
        SearchError: When it holds no formula.
    """
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SearchError(f"{path} cannot be read: {error}", fix="write the profile as JSON") from None
    return parse_profile(document, str(path))


def parse_profile(document: Any, where: str) -> CurrentProfile:
    """Find formula, weights, name and revision in a document.

    Raises:
        SearchError: When it holds no formula.
    """
    if not isinstance(document, dict):
        raise SearchError(f"{where} holds no JSON object", fix='write {"formula": "…", "weights": {…}}')
    inner = document.get("profile")
    body, name = (inner, document.get("name")) if isinstance(inner, dict) else (document, inner)
    if body.get("kind", "formula") != "formula":
        raise SearchError(f"{where} is of kind {body['kind']!r}, which has no weights", fix="give a formula")
    known = {key: body[key] for key in FusionProfile.model_fields if key in body}
    try:
        profile = FusionProfile.model_validate(known)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = "/".join(str(part) for part in first["loc"])
        raise SearchError(f"{where}: {at}: {first['msg']}", fix='write {"formula": "…", "weights": {…}}') from None
    return CurrentProfile(name=name, revision=document.get("revision"), profile=profile)
