"""What is shipped beside the code names only things that exist: files, settings, metrics, services."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from service.settings import PREFIX, Settings
from tests.conftest import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
# A metric by its own name; a recorded series has a colon before or after.
METRIC = re.compile(r"(?<![\w:])fulcrum_[a-z0-9_]+(?![\w:])")
RECORDED = re.compile(r"(?<![\w:])[a-z_]+:fulcrum_[a-z0-9_:]+")


@pytest.fixture(scope="module")
def promtool():
    found = shutil.which("promtool")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI must have promtool: it comes with the Debian package prometheus")
    if found is None:
        pytest.skip("promtool is not installed: it comes with the Debian package prometheus")
    return found


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture(scope="module")
def dockerfile():
    """Instructions of the Dockerfile, one a line, without comments."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")],
    ids=" ".join,
)
def test_prometheus_accepts_its_files_and_every_alert_fires_when_it_should(promtool, arguments):
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_by_the_rule_tests():
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}

    assert fired == {rule["alert"] for rule in _rules() if "alert" in rule}


def test_every_local_file_that_compose_mounts_exists(services):
    sources = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    local = [source for source in sources if source.startswith(".")]

    assert local
    assert [source for source in local if not (ROOT / source).exists()] == []


def test_every_named_volume_of_compose_is_declared(services):
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    sources = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}

    assert {source for source in sources if not source.startswith(".")} == set(declared)


@pytest.mark.parametrize("name", ["docker-compose.yml", "Dockerfile"])
def test_every_fulcrum_variable_is_a_setting(name):
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", (ROOT / name).read_text()))

    assert named
    assert named <= known


def test_no_secret_has_a_default(services):
    assert services["fulcrum"]["environment"]["FULCRUM_ADMIN_TOKEN"] is None
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")


def test_services_depend_on_services_that_start_with_them(services):
    always = {name for name, service in services.items() if "profiles" not in service}

    for name in always:
        assert set(services[name].get("depends_on", [])) <= always


def test_every_port_is_on_loopback(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_image_is_pinned(services, dockerfile):
    bases = [line.split()[1] for line in dockerfile if line.startswith("FROM ")]
    images = [*bases, *(service["image"] for service in services.values())]

    assert bases
    assert [image for image in images if not re.fullmatch(r"[a-z/-]+:v?\d+\.\d+[\w.-]*", image)] == []


def test_the_image_does_not_run_as_root_and_tells_its_health(dockerfile):
    final = dockerfile[max(i for i, line in enumerate(dockerfile) if line.startswith("FROM ")) :]
    users = [line.split()[1] for line in final if line.startswith("USER ")]

    assert users
    assert users[-1].split(":")[0] not in {"root", "0"}
    assert any(line.startswith("HEALTHCHECK") and "/readyz" in line for line in final)


def test_the_image_installs_no_torch(dockerfile):
    text = "\n".join(dockerfile)
    required = re.findall(r"requirements/([\w.]+)", text)

    assert set(required) == {"build.txt", "serve.txt"}
    assert "torch" not in text
    for name in required:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        assert [line for line in lines if re.match(r"torch|-r ", line)] == []


def test_everything_that_the_image_copies_exists_and_is_not_ignored(dockerfile):
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split()[1:-1] for line in dockerfile if line.startswith("COPY ") and "--from" not in line]

    for source in (source for sources in copies for source in sources):
        assert (ROOT / source).exists()
        assert source.split("/")[0] in allowed


def test_rules_and_dashboards_name_only_metrics_that_the_service_emits(client, example):
    assert client.post("/v1/rank", json=example).status_code == 200
    exposed = client.get("/metrics").text
    emitted = {re.split(r"[{ ]", line)[0] for line in exposed.splitlines() if not line.startswith("#")}

    named = {name for query in _queries() for name in METRIC.findall(query)}

    assert named
    assert named - emitted == set()


def test_dashboards_name_only_series_that_the_rules_record():
    recorded = {rule["record"] for rule in _rules() if "record" in rule}

    named = {name for query in _queries() for name in RECORDED.findall(query)}

    assert named
    assert named - recorded == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_panel_asks_the_provisioned_data_source(path):
    provisioned = yaml.safe_load(
        (ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )
    uids = {source["uid"] for source in provisioned["datasources"]}
    panels = json.loads(path.read_text())["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels) > 0
    assert {panel["datasource"]["uid"] for panel in panels} <= uids


def _rules():
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _queries():
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    panels = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    variables = [each["query"]["query"] for board in boards for each in board["templating"]["list"]]
    return [rule["expr"] for rule in _rules()] + panels + variables
