"""The doctor's promises, on made-up machines."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fulcrum.cli import build
from service.doctor.examine import examine
from service.settings import Settings
from tests.conftest import ROOT

DEMO = ROOT / "models_onnx"
RUNNER = CliRunner()


@pytest.fixture
def look(tmp_path):
    """Examine settings on a machine of 4 cores with a quota, a memory limit and flags as given."""

    def examined(*, quota="max 100000", memory="max", flags="avx2 fma avx512f avx512_vnni", **given):
        (tmp_path / "cpu.max").write_text(quota)
        (tmp_path / "memory.max").write_text(memory)
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: fpu {flags} sse\n")
        settings = Settings(
            **{"models_dir": DEMO, "fusion_store": str(tmp_path / "f.sqlite"), "admin_token": "secret", **given}
        )
        return examine(settings, cgroup=tmp_path, cpuinfo=tmp_path / "cpuinfo", affinity=4)

    return examined


def _problems(report):
    return " | ".join(finding.problem for finding in report.findings)


def test_a_good_machine_has_nothing_to_mend_and_its_plan_and_models_are_shown(look):
    report = look(quota="200000 100000", memory=str(512 * 2**20))

    assert (report.findings, report.serves, report.store_reachable, report.admin_open) == ((), True, True, True)
    assert (report.cores.usable, report.cores.source, report.plan.threads_a_call) == (2, "cgroup v2 cpu.max", 2)
    assert report.host.memory_limit_mib == 512
    assert report.host.cpu_flags == ("avx2", "fma", "avx512f", "avx512_vnni")
    assert [(model.name, model.version, model.items) for model in report.models] == [("demo", 1, 2000)]
    assert "ctr" in report.models[0].heads


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"quota": "50000 100000"}, "allows 0.5 of a core"),
        ({"threads": 4, "runners": 2}, "2 runners of 4 threads"),
        ({"flags": "avx2"}, "no VNNI"),
        ({"admin_token": None}, "admin API is closed"),
        ({"fusion_store": ":memory:"}, "forgotten with the process"),
    ],
)
def test_what_is_worth_mending_is_said_with_a_mend_and_does_not_stop_serving(look, given, problem):
    report = look(**given)

    assert problem in _problems(report)
    assert report.serves
    assert all(finding.fix for finding in report.findings)


def test_a_folder_without_a_bundle_stops_serving(look, tmp_path):
    report = look(models_dir=tmp_path / "none")

    assert not report.serves
    assert "holds no bundle" in _problems(report)


def test_a_damaged_newest_version_is_named_and_the_one_before_would_serve(look, tmp_path):
    shutil.copytree(DEMO / "demo", tmp_path / "models" / "demo")
    shutil.copytree(DEMO / "demo" / "1", tmp_path / "models" / "demo" / "2")
    (tmp_path / "models" / "demo" / "2" / "model.onnx").write_bytes(b"cut")

    report = look(models_dir=tmp_path / "models")

    assert "demo version 2" in _problems(report)
    assert (report.serves, report.models[0].version) == (True, 1)


def test_a_store_that_cannot_be_used_stops_serving_unless_the_last_good_revisions_are_kept(look, tmp_path):
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all" * 100)
    (tmp_path / "last.json").write_text("[]")

    report = look(fusion_store=str(tmp_path / "broken.sqlite"))

    assert (report.store_reachable, report.serves) == (False, False)
    assert look(fusion_store=str(tmp_path / "broken.sqlite"), last_good_file=tmp_path / "last.json").serves


def test_a_store_that_is_not_there_yet_is_not_made_by_looking(look, tmp_path):
    look(fusion_store=str(tmp_path / "new" / "f.sqlite"))

    assert not (tmp_path / "new").exists()


def test_secrets_and_passwords_are_never_shown(look):
    shown = look(fusion_store="nowhere://me:hush@host:1/0").model_dump_json()

    assert "secret" not in shown
    assert "hush" not in shown
    assert "FULCRUM_ADMIN_TOKEN" in shown


def test_machines_get_one_document_and_the_exit_code_says_whether_it_serves(tmp_path):
    empty: Path = tmp_path / "none"

    good = RUNNER.invoke(build(), ["doctor", "--json", "--models", str(DEMO)])
    bad = RUNNER.invoke(build(), ["doctor", "--models", str(empty)])

    assert (good.exit_code, json.loads(good.stdout)["models"][0]["name"]) == (0, "demo")
    assert bad.exit_code == 1
    assert "stops serving" in bad.stdout
