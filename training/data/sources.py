"""Data sets by name, and where their raw files lie."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from training.data import census, ebnerd, kuairand, simulator
from training.data.fetch import PUBLIC_SETS, fetch
from training.data.format import Dataset, open_dataset
from training.data.unpack import unpack
from training.errors import DataError

__all__ = ["RAW_FOLDERS", "SOURCES", "fetch_raw", "locate_raw", "prepare_dataset"]

Progress = Callable[[int], None]
RAW_FOLDERS = {
    "ebnerd": "ebnerd-demo",
    "ebnerd-small": "ebnerd-small",
    "kuairand": "kuairand",
    "census": "census",
    **dict.fromkeys(census.PROTOCOLS, "census"),
}
SOURCES = ("simulator", *RAW_FOLDERS)
_HAS_FILES: dict[str, Callable[[Path], bool]] = {
    "ebnerd": ebnerd.has_files,
    "ebnerd-small": ebnerd.has_files,
    "kuairand": kuairand.has_files,
    "census": partial(census.has_files, protocol="census-a"),
    **{protocol: partial(census.has_files, protocol=protocol) for protocol in census.PROTOCOLS},
}


def prepare_dataset(
    name: str, out: Path, *, rows: int | None = None, seed: int = 0, progress: Progress = lambda rows: None
) -> Dataset:
    """Prepare a source under *out*, or open what is prepared already when *name* is a path.

    Args:
        rows: About how many impressions to take; None takes all there are.

    Raises:
        DataError: When there is no such source, or its raw files are not there.
    """
    if name == "simulator":
        return simulator.prepare(out, rows=rows, seed=seed, progress=progress)
    if name in ("ebnerd", "ebnerd-small"):
        return ebnerd.prepare(locate_raw(name), out, rows=rows, progress=progress)
    if name == "kuairand":
        return kuairand.prepare(locate_raw(name), out, rows=rows, progress=progress)
    if name in RAW_FOLDERS:
        protocol = "census-a" if name == "census" else name
        return census.prepare(locate_raw(name), out, protocol=protocol, rows=rows, seed=seed, progress=progress)
    if Path(name).is_dir():
        return open_dataset(Path(name))
    raise DataError(f"there is no data set {name!r}", fix=f"known: {', '.join(SOURCES)}, or the path of a prepared one")


def locate_raw(name: str) -> Path:
    """Find the raw files of a source: $FULCRUM_DATA, data/raw, then ../shared/data.

    A folder that lacks some of them is passed over.

    Raises:
        DataError: When they are nowhere.
    """
    homes = [Path("data/raw"), Path("../shared/data"), Path(__file__).parents[3] / "shared" / "data"]
    if chosen := os.environ.get("FULCRUM_DATA"):
        homes.insert(0, Path(chosen))
    places = [home / RAW_FOLDERS[name] for home in homes]
    if found := next((place for place in places if _HAS_FILES[name](place)), None):
        return found
    begun = next((f", and {place} lacks some" for place in places if place.is_dir()), "")
    public = next((key for key, each in PUBLIC_SETS.items() if each.source == name), None)
    fix = f"put them under data/raw/{RAW_FOLDERS[name]}, or name the folder above it in FULCRUM_DATA"
    raise DataError(
        f"the raw files of {name!r} are not here{begun}",
        fix=f"run `fulcrum data fetch {public}`, or {fix}" if public else fix,
    )


def fetch_raw(name: str, home: Path, *, progress: Callable[[int, int | None], None] = lambda done, total: None) -> Path:
    """Download a public set into *home*, verify it, and unpack it where its reader looks; gives that folder.

    Args:
        progress: Called with the bytes that are there and the whole size, None where the server does not say it.

    Raises:
        DataError: When there is no such set.
        FetchError: When it cannot be downloaded, verified or unpacked.
    """
    if name not in PUBLIC_SETS:
        raise DataError(f"there is no public set {name!r}", fix=f"known: {', '.join(PUBLIC_SETS)}")
    public = PUBLIC_SETS[name]
    folder = unpack(fetch(public, home, progress=progress), home / RAW_FOLDERS[public.source])
    if not _HAS_FILES[public.source](folder):
        raise DataError(
            f"{folder} lacks files that `--data {public.source}` reads", fix="its owner changed the archive: report it"
        )
    return folder
