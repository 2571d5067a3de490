"""What every offline command shares: the terminal, its bars, and a data set by name."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from training.data.format import Dataset
from training.data.sources import SOURCES, prepare_dataset

__all__ = ["DataName", "Rows", "Seed", "console", "dataset_named", "prepared", "progress_bar"]

console = Console(stderr=True)
DataName = Annotated[str, typer.Option("--data", help=f"{', '.join(SOURCES)}, or the folder of a prepared dataset.")]
Rows = Annotated[int | None, typer.Option(min=1, help="About how many impressions to use; all by default.")]
Seed = Annotated[int, typer.Option(help="The same seed on the same machine gives the same losses.")]


@contextmanager
def dataset_named(name: str, rows: int | None, seed: int) -> Iterator[Dataset]:
    """Prepare a data set for one command, or open a prepared one."""
    with tempfile.TemporaryDirectory(prefix="fulcrum-data-") as scratch:
        with progress_bar() as bar:
            dataset = prepared(name, Path(scratch) / "prepared", rows, seed, bar)
        yield dataset


def prepared(name: str, out: Path, rows: int | None, seed: int, bar: Progress) -> Dataset:
    """Prepare a data set, with a bar."""
    task = bar.add_task(f"preparing {name}", total=None)
    return prepare_dataset(name, out, rows=rows, seed=seed, progress=lambda n: bar.advance(task, n))


def progress_bar() -> Progress:
    """Give a bar on the terminal; standard output stays free for answers."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
