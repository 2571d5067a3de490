"""Documentation that does not drift."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic_core import PydanticUndefined

import training.models
from service.settings import Settings
from training.data.declarations import FieldDeclaration
from training.models.base import ModelConfig
from training.models.registry import architectures

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "docs" / "models"
_ = training.models  # filled the registry


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


@pytest.mark.parametrize("name", list(architectures()))
def test_every_architecture_has_a_page_with_its_options_and_their_defaults(name):
    page = (MODELS / f"{name}.md").read_text()
    written = _options_of(page)

    for option, default in architectures()[name].model.Options().model_dump(mode="json").items():
        assert option in written, f"{name}: {option}"
        if default is None or isinstance(default, list | dict):
            continue  # said in words
        shown = written[option]
        assert shown == default or shown == json.dumps(default).strip('"'), f"{name}: {option} is {default!r}"


def test_no_page_documents_an_option_that_its_architecture_does_not_have():
    for name, architecture in architectures().items():
        written = _options_of((MODELS / f"{name}.md").read_text())

        assert written.keys() <= architecture.model.Options.model_fields.keys(), name


def test_the_index_of_models_lists_every_architecture_once_and_no_other():
    index = (MODELS / "README.md").read_text()

    rows = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \| (.+) \| (.+) \|$", index, re.MULTILINE)

    assert sorted(name for name, *_ in rows) == sorted(architectures())
    assert sorted(path.stem for path in MODELS.glob("*.md")) == sorted(["README", *architectures()])
    for name, page, paper, when in rows:
        link = architectures()[name].link
        assert page == name
        assert not link or f"]({link})" in paper, f"{name}: the index has another link than the registry"
        assert when.strip(), name


def test_the_index_of_models_says_what_each_size_of_a_network_is():
    index = (MODELS / "README.md").read_text()

    for name, field in ModelConfig.model_fields.items():
        if name != "options":
            shown = ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
            assert f"| `{name}` | {shown} |" in index, name


def _options_of(page):
    """Read a page's table of options: name to default, as JSON where it is JSON."""
    written = {}
    for names, defaults in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.+?) \|", page, re.MULTILINE):
        found = re.findall(r"`(\w+)`", names)
        shown = defaults.split(", ") if len(found) > 1 else [defaults]
        written |= dict(zip(found, map(_as_json, shown), strict=True))
    return written


def _as_json(text):
    text = text.strip("` ")
    try:
        return json.loads(text)
    except ValueError:
        return text


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
    body = json.loads(re.search(r"If-Match: .* -d '(.*?)'", readme, re.DOTALL)[1])

    seen = re.search(r"If-Match: (\"\d+\")'", readme)[1]

    assert admin.put("/v1/admin/fusion/default", json=body, headers={"If-Match": seen}).status_code == 200
