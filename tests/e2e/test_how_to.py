"""The commands of the how-to pages, run as they stand, in order, against a real server on a new store."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import ROOT, TOKEN, server

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PAGES = ("change-the-fusion", "run-an-experiment", "preview-a-change")
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CURL = "curl --silent --show-error --fail-with-body"


def commands_of(page):
    text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text()
    return [block for block in _BLOCK.findall(text) if "make serve" not in block]


def as_run(block, url):
    """Point a block at the server of the test, and let a refused call end it."""
    block = block.replace("http://127.0.0.1:8000", url).replace("Bearer secret", f"Bearer {TOKEN}")
    return re.sub(r"^(\s*(?:for .*? do )?)curl\b", rf"\1{_CURL}", block, flags=re.MULTILINE)


def run(block, folder):
    fulcrum = folder / "fulcrum"
    fulcrum.write_text(f'#!/bin/sh\nexec {sys.executable} -m fulcrum "$@"\n')
    fulcrum.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PATH": path, "FULCRUM_ADMIN_TOKEN": TOKEN},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_works_in_order_on_a_new_store(page, tmp_path):
    blocks = commands_of(page)
    assert blocks
    (Path("/tmp") / "fulcrum-tokens.json").unlink(missing_ok=True)  # noqa: S108 - the path that the page names
    with server(ROOT / "models_onnx", tmp_path / "fusion.sqlite") as running:
        answers = [run(as_run(block, running.url), tmp_path) for block in blocks]

    assert all(answers)
