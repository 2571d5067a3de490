"""The commands of docs/how-to/learn-the-fusion.md, run one after the other against the real app."""

import contextlib
import re
import shlex
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient
from typer.testing import CliRunner

from fulcrum.cli import build
from service.app import create_app
from training.fusing import cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "learn-the-fusion.md"
FEWER = {"--rows 300000": "--rows 60000"}
TOKEN = "secret"


def _commands():
    """Give the words of every command of the page."""
    text = "".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
    for many, few in FEWER.items():
        assert many in text
        text = text.replace(many, few)
    parts = re.split(r"('[^']*')", re.sub(r"\\\n\s*", " ", text))  # a body in quotes may go over several lines
    ended = "".join(part if part.startswith("'") else part.replace("\n", " ; ") for part in parts)
    command = []
    for word in shlex.split(ended):
        if word != ";":
            command.append(word)
        elif command:
            yield command
            command = []


def _curl(client, words):
    """Send what curl would."""
    method, headers, body, url, out = "GET", {}, None, None, None
    words = iter(words)
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif word == "-o":
            out = next(words)
        elif word.startswith("http"):
            url = word
    answer = client.request(method, url, headers=headers, content=body)
    assert answer.status_code == 200, answer.text
    if out:
        Path(out).write_text(answer.text)


def test_every_command_of_the_page_does_what_the_page_says(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models_onnx").symlink_to(ROOT / "models_onnx")
    commands = list(_commands())
    assert [command[:3] for command in commands if command[0] == "fulcrum"] == [
        ["fulcrum", "fuse", verb] for verb in ("score", "score", "search", "search", "apply", "fit", "apply")
    ]
    served = next(command for command in commands if "serve" in command)
    setting = {"FULCRUM_ADMIN_TOKEN": TOKEN, "FULCRUM_FUSIONS_DIR": "fusions"}
    assert served == [
        *(f"{name}={value}" for name, value in setting.items()),
        *["fulcrum", "serve", "--models", "models_onnx"],
    ]
    monkeypatch.setenv("FULCRUM_ADMIN_TOKEN", TOKEN)
    app = create_app(settings.model_copy(update={"fusions_dir": Path("fusions"), "admin_token": SecretStr(TOKEN)}))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        monkeypatch.setattr(cli, "admin_client", lambda url: contextlib.nullcontext(client))
        for command in commands:
            if command[0] == "curl":
                _curl(client, command[1:])
            elif command[0] == "fulcrum":
                result = CliRunner().invoke(build(), command[1:])
                assert result.exit_code == 0, (command, result.output, result.exception)
        history = client.get("/v1/admin/fusion/default/history", headers={"Authorization": f"Bearer {TOKEN}"}).json()

    reasons = [revision["reason"] for revision in history["revisions"]]
    assert reasons[:3] == ["beats the searched formula", "more reading for the weekend", "weights to search"]
    assert history["revisions"][0]["plan"]["profile"]["kind"] == "model"
    for written in ("found.png", "front.png", "fusions/demo/1/report.json"):
        assert (tmp_path / written).is_file()


@pytest.mark.parametrize("option", ["missing", "measure", "evaluate", "fit-share", "bounds", "allow-leak", "method",
                                    "token-file", "head", "field", "outcome", "point"])  # fmt: skip
def test_an_option_that_the_page_names_is_an_option_of_a_command(option):
    assert f"--{option}" in PAGE.read_text()
    helps = [CliRunner(env={"COLUMNS": "200"}).invoke(build(), ["fuse", verb, "--help"]).output
             for verb in ("fit", "search", "apply")]  # fmt: skip

    assert any(f"--{option}" in text for text in helps)
