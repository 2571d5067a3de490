"""Each public set as its owner packs it: fetched, it is ready to train on, with no step between."""

import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract.bundle import latest_bundle
from fulcrum.cli import build
from tests.rawsets import official_archive, write_ebnerd, write_kuairand
from training.data import ebnerd, kuairand, sources
from training.data.fetch import PUBLIC_SETS
from training.errors import DataError, FetchError


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own, with no raw data in it or beside it."""
    home = tmp_path / "home" / "fulcrum"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sources, "__file__", str(home / "training" / "data" / "sources.py"))
    monkeypatch.delenv("FULCRUM_DATA", raising=False)
    return home


@pytest.fixture
def publish(http, tmp_path, monkeypatch):
    """Have a set's owner serve an archive from the local server, under the file name of the real one."""

    def publish(name, content):
        public = PUBLIC_SETS[name]
        http.content = content
        url = http.url.replace("set.bin", public.url.rsplit("/", 1)[-1])
        monkeypatch.setitem(PUBLIC_SETS, name, dataclasses.replace(public, url=url, digest=None))

    return publish


def _run(*words):
    result = CliRunner().invoke(build(), [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def _prepared(source):
    return sources.prepare_dataset(source, Path("prepared") / source)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ebnerd-demo", "kuairand-pure", "census-income"])
def test_fetch_and_train_are_all_it_takes(checkout, publish, tmp_path, name):
    publish(name, official_archive(name, tmp_path / "owner"))
    source = PUBLIC_SETS[name].source

    _run("data", "fetch", name)
    _run("train", "--data", source, "--arch", "shared_bottom", "--epochs", 1, "--name", "mine")

    heads = {head.name for head in latest_bundle(checkout / "models", "mine").manifest.heads}
    assert {label.name for label in _prepared(source).info.labels if label.kind == "binary"} <= heads


@pytest.mark.parametrize(
    ("name", "layout"), [*((name, name) for name in PUBLIC_SETS), ("census-income", "census-income as gz files")]
)
def test_what_is_fetched_can_be_prepared_with_no_step_between(checkout, publish, tmp_path, name, layout):
    publish(name, official_archive(layout, tmp_path / "owner"))

    said = _run("data", "fetch", name).stderr

    assert f"fulcrum train --data {PUBLIC_SETS[name].source}" in " ".join(said.split())
    assert set(_prepared(PUBLIC_SETS[name].source).info.splits) == {"train", "validation", "test"}


def test_fetching_again_neither_downloads_nor_unpacks(checkout, publish, http, tmp_path):
    publish("kuairand-pure", official_archive("kuairand-pure", tmp_path / "owner"))
    _run("data", "fetch", "kuairand-pure")
    before = {path: path.stat().st_mtime_ns for path in checkout.rglob("*") if path.is_file()}

    _run("data", "fetch", "kuairand-pure")

    assert {path: path.stat().st_mtime_ns for path in checkout.rglob("*") if path.is_file()} == before
    assert len(http.ranges) == 1


def test_an_archive_whose_owner_changed_what_is_in_it_is_not_called_ready(checkout, publish):
    publish("ebnerd-demo", official_archive("kuairand-pure", checkout.parent / "owner"))

    with pytest.raises(DataError, match="lacks files"):
        sources.fetch_raw("ebnerd-demo", checkout / "data" / "raw")


def test_an_extract_that_stands_in_the_folder_is_not_overwritten_by_a_fetch(checkout, publish, tmp_path):
    write_kuairand(checkout / "data" / "raw" / "kuairand", official=False)
    publish("kuairand-pure", official_archive("kuairand-pure", tmp_path / "owner"))

    with pytest.raises(FetchError, match="move it away"):
        sources.fetch_raw("kuairand-pure", checkout / "data" / "raw")

    assert sources.locate_raw("kuairand").joinpath("log.parquet").is_file()


def test_a_folder_that_lacks_files_is_passed_over_for_one_that_has_them(checkout, monkeypatch, tmp_path):
    (checkout / "data" / "raw" / "ebnerd-demo").mkdir(parents=True)
    whole = write_ebnerd(checkout.parent / "shared" / "data" / "ebnerd-demo")

    assert sources.locate_raw("ebnerd").resolve() == whole
    with pytest.raises(DataError, match="fulcrum data fetch kuairand-pure"):
        sources.locate_raw("kuairand")


def test_the_official_articles_give_the_same_data_as_an_extract_of_lengths_and_flags(tmp_path):
    official = ebnerd.prepare(write_ebnerd(tmp_path / "official", official=True), tmp_path / "a")
    extract = ebnerd.prepare(write_ebnerd(tmp_path / "extract"), tmp_path / "b")

    assert official.fingerprint == extract.fingerprint


def test_the_official_logs_give_the_same_rows_as_an_extract_and_say_that_their_rates_are_natural(tmp_path):
    official = kuairand.prepare(write_kuairand(tmp_path / "official"), tmp_path / "a")
    extract = kuairand.prepare(write_kuairand(tmp_path / "extract", official=False), tmp_path / "b")
    rates = {f"{who}_{what}_rate" for who in ("user", "video") for what in ("click", "long_view", "like")}

    for split in ("train", "validation", "test"):
        (a,), (b,) = official.row_groups(split), extract.row_groups(split)
        assert a.drop_columns(list(rates)).equals(b.drop_columns(list(rates)))
    assert "natural" in official.info.notes
    assert "not natural" in extract.info.notes


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda text: text.replace("is_like", "liked"), "is_like"), (lambda text: text + "1,2,3\n", "columns")],
)
def test_a_csv_that_is_not_what_it_should_be_is_named(tmp_path, change, says):
    raw = write_kuairand(tmp_path / "raw")
    path = next(raw.rglob("log_standard_4_22*"))
    path.write_text(change(path.read_text()))

    with pytest.raises(DataError, match=says) as refused:
        kuairand.prepare(raw, tmp_path / "data")

    assert path.name in str(refused.value)


def test_a_log_of_two_days_cannot_be_split_and_says_so(tmp_path):
    with pytest.raises(DataError, match="three days"):
        kuairand.prepare(write_kuairand(tmp_path / "raw", days=2), tmp_path / "data")
