"""Admin tokens with scopes, and the file that lists them."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["AdminToken", "Scope", "TokenFileError", "add_token", "digest_of", "read_tokens"]

Scope = Literal["read", "fusion", "model"]


def digest_of(token: str) -> str:
    """Give what is kept of a token: its SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenFileError(ValueError):
    """The file of admin tokens cannot be used."""


class AdminToken(BaseModel):
    """A token that the operator gave out.

    Args:
        name: Of who holds it; stands beside each change.
        sha256: Of the token, hex; the token itself is kept nowhere.
        scopes: ``read`` looks, ``fusion`` changes profiles and experiments, ``model`` changes what is loaded; the
            latter two look as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: frozenset[Scope] = Field(min_length=1)


class _TokenFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[AdminToken, ...]


def read_tokens(path: Path) -> tuple[AdminToken, ...]:
    """Read ``{"tokens": [{"name": "ana", "sha256": "…", "scopes": ["fusion"]}]}``.

    Raises:
        TokenFileError: When it cannot be read, or two tokens have one name.
    """
    try:
        tokens = _TokenFile.model_validate(json.loads(path.read_text())).tokens
    except (OSError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        msg = f"the file of admin tokens {path} cannot be used: {reason}"
        raise TokenFileError(msg) from None
    names = [token.name for token in tokens]
    if twice := {name for name in names if names.count(name) > 1}:
        msg = f"the file of admin tokens {path} has two tokens named {min(twice)!r}"
        raise TokenFileError(msg)
    return tokens


def add_token(path: Path, *, name: str, secret: str, scopes: Sequence[str]) -> None:
    """Add a token's digest to the file, which is made when it is not there and readable by its owner alone.

    Raises:
        TokenFileError: When the name is taken, a scope is unknown, or the file cannot be used.
    """
    known = read_tokens(path) if path.exists() else ()
    if any(token.name == name for token in known):
        msg = f"{path} has a token named {name!r} already"
        raise TokenFileError(msg)
    entry = {"name": name, "sha256": digest_of(secret), "scopes": list(scopes)}
    try:
        tokens = _TokenFile.model_validate({"tokens": [*known, entry]})
        write_private(path, tokens.model_dump_json(indent=2))
    except (OSError, ValidationError) as error:
        msg = f"the token cannot be added to {path}: {error}"
        raise TokenFileError(msg) from None


def write_private(path: Path, text: str) -> None:
    """Write a file by rename, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
