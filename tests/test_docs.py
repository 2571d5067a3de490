"""Documentation that does not drift."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic_core import PydanticUndefined

from service.settings import Settings
from training.data.declarations import FieldDeclaration

ROOT = Path(__file__).parents[1]


def test_every_setting_is_documented_with_its_default_and_meaning():
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()

    for name, field in Settings.model_fields.items():
        assert f"| `FULCRUM_{name.upper()}` | `{field.default}` | {field.description} |" in page


def test_every_kind_of_feature_and_every_option_of_it_is_documented_with_its_default():
    page = (ROOT / "docs" / "reference" / "features.md").read_text()
    fields = FieldDeclaration.model_fields

    for kind in get_args(fields["kind"].annotation):
        assert f"\n| `{kind}` |" in page, kind
    for name in fields.keys() - {"name", "side", "kind"}:
        rows = [line.split("|")[3].strip().strip("`") for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        default = fields[name].get_default()
        wanted = "" if default in (None, PydanticUndefined) else json.dumps(default).strip('"')
        assert rows, name
        assert set(rows) == {wanted}, name


def test_every_route_is_documented(client):
    page = (ROOT / "docs" / "reference" / "http-api.md").read_text()

    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page or f"`{path}`" in page, path


def test_the_curl_of_the_readme_gives_the_answer_that_the_readme_shows(client):
    readme = (ROOT / "README.md").read_text()
    body = json.loads(re.search(r"/v1/rank -d '(.*?)'", readme, re.DOTALL)[1])
    shown = json.loads(re.search(r"```json\n(.*?)```", readme, re.DOTALL)[1])

    got = client.post("/v1/rank", json=body).json()

    assert (got["model"], got["fusion"]) == (shown["model"], shown["fusion"])
    for mine, theirs in zip(got["results"], shown["results"], strict=True):
        assert (mine["item_id"], mine["rank"]) == (theirs["item_id"], theirs["rank"])
        assert mine["heads"] == pytest.approx(theirs["heads"], rel=1e-4)


def test_the_formula_that_the_readme_puts_is_accepted(admin):
    readme = (ROOT / "README.md").read_text()
    body = json.loads(re.search(r"Bearer secret' \\\n\s+-d '(.*?)'", readme, re.DOTALL)[1])

    assert admin.put("/v1/admin/fusion/default", json=body).status_code == 200
