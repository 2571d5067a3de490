import json
import stat

import pytest
from typer.testing import CliRunner

from fulcrum.cli import build
from service.tokens import TokenFileError, add_token, digest_of, read_tokens


@pytest.fixture
def path(tmp_path):
    return tmp_path / "private" / "tokens.json"


def test_a_token_made_on_the_command_line_is_shown_once_and_only_its_digest_is_kept(path):
    done = CliRunner().invoke(build(), ["token", "ana", "--scope", "read", "--scope", "fusion", "--file", str(path)])

    secret = done.stdout.strip()
    (entry,) = read_tokens(path)
    assert (entry.name, entry.sha256, entry.scopes) == ("ana", digest_of(secret), {"read", "fusion"})
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_is_given_once_and_the_others_stay(path):
    add_token(path, name="ana", secret="a", scopes=["read"])
    add_token(path, name="bo", secret="b", scopes=["fusion"])

    with pytest.raises(TokenFileError, match="'ana' already"):
        add_token(path, name="ana", secret="c", scopes=["read"])
    assert [token.name for token in read_tokens(path)] == ["ana", "bo"]


@pytest.mark.parametrize("scopes", [[], ["root"]])
def test_scopes_that_do_not_exist_are_refused_and_nothing_is_written(path, scopes):
    with pytest.raises(TokenFileError):
        add_token(path, name="ana", secret="a", scopes=scopes)

    assert not path.exists()


ENTRY = {"name": "ana", "sha256": "0" * 64, "scopes": ["read"]}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"tokens": [ENTRY, ENTRY]}),
        json.dumps({"tokens": [ENTRY | {"sha256": "secret"}]}),
        json.dumps({"tokens": [ENTRY | {"token": "secret"}]}),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_never_ignored(tmp_path, text):
    path = tmp_path / "tokens.json"
    path.write_text(text)

    with pytest.raises(TokenFileError, match=r"tokens\.json"):
        read_tokens(path)
