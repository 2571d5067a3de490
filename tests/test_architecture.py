"""The house's own rules, as far as a static check cannot see them."""

import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_importing_the_service_loads_no_torch_and_no_training():
    code = "import sys, service.app, service.cli; print(sorted({'torch','onnx','training'} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert found.strip() == "[]"


def test_the_serving_install_has_no_torch():
    pins = (ROOT / "requirements" / "serve.txt").read_text()

    assert not [line for line in pins.splitlines() if line.startswith(("torch", "onnx=", "onnxscript", "-r"))]


def test_pinned_files_carry_no_addresses():
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text(), path


def test_what_the_package_declares_is_pinned():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = "".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt")).lower().replace("_", "-")

    for requirement in [*declared["dependencies"], *chain.from_iterable(declared["optional-dependencies"].values())]:
        name = requirement.replace("=", ">").split(">")[0].lower()
        assert f"\n{name}==" in f"\n{pins}", name


def test_the_life_of_a_request_fits_one_screen():
    lines = (ROOT / "service" / "ranking" / "ranker.py").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "async def rank(" in line)
    end = next(i for i, line in enumerate(lines[start:], start) if line.startswith("def "))

    assert end - start <= 60
