"""Data sets by name, and where their raw files lie."""

import os
from collections.abc import Callable
from pathlib import Path

from training.data import census, ebnerd, kuairand, simulator
from training.data.format import Dataset, open_dataset
from training.errors import DataError

__all__ = ["RAW_FOLDERS", "SOURCES", "locate_raw", "prepare_dataset"]

Progress = Callable[[int], None]
RAW_FOLDERS = {
    "ebnerd": "ebnerd-demo",
    "kuairand": "kuairand",
    "census": "census",
    **dict.fromkeys(census.PROTOCOLS, "census"),
}
SOURCES = ("simulator", *RAW_FOLDERS)


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
    if name == "ebnerd":
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

    Raises:
        DataError: When they are nowhere.
    """
    homes = [Path("data/raw"), Path("../shared/data"), Path(__file__).parents[3] / "shared" / "data"]
    if chosen := os.environ.get("FULCRUM_DATA"):
        homes.insert(0, Path(chosen))
    for home in homes:
        if (home / RAW_FOLDERS[name]).is_dir():
            return home / RAW_FOLDERS[name]
    raise DataError(
        f"the raw files of {name!r} are not here",
        fix=f"put them under data/raw/{RAW_FOLDERS[name]}, or name the folder above it in FULCRUM_DATA; "
        "`fulcrum data fetch` downloads public archives",
    )
