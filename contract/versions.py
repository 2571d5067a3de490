"""Numbered folders, ``<home>/<integer version>/``: written beside their place, verified, and published by one rename.

A reader sees a whole version or none of it. Versions only grow.
"""

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from contract.errors import BundleError

__all__ = [
    "MANIFEST_FILE",
    "draft_folder",
    "file_digests",
    "not_plain",
    "publish_draft",
    "sha256_of",
    "verify_files",
    "version_of",
    "versions_in",
]

MANIFEST_FILE = "manifest.json"
_PUBLISH_TRIES = 100


def versions_in(home: Path) -> list[int]:
    """List the published versions under a folder, ascending."""
    if not home.is_dir():
        return []
    return sorted(int(p.name) for p in home.iterdir() if _is_version(p.name) and (p / MANIFEST_FILE).is_file())


def version_of(path: Path) -> int:
    """Read the version from a folder's name.

    Raises:
        BundleError: When the name is no integer.
    """
    if not _is_version(path.name):
        raise BundleError(
            f"{path} is not a version of a model: its name is not an integer",
            fix="name a folder such as <models>/<name>/1",
        )
    return int(path.name)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name == str(int(name))


@contextlib.contextmanager
def draft_folder(home: Path) -> Iterator[Path]:
    """Give a hidden folder under *home* to write into; whatever is left of it when the block ends is removed."""
    home.mkdir(parents=True, exist_ok=True)
    draft = home / f".draft-{uuid.uuid4().hex}"
    draft.mkdir()
    try:
        yield draft
    finally:
        if draft.exists():
            shutil.rmtree(draft)


def publish_draft(draft: Path, home: Path) -> Path:
    """Take the next free version; another publisher may be faster, so try again above it.

    Raises:
        BundleError: When no version is free after many tries.
    """
    for _ in range(_PUBLISH_TRIES):
        version = max([0, *(int(p.name) for p in home.iterdir() if _is_version(p.name))]) + 1
        try:
            return draft.rename(home / str(version))
        except OSError:
            if not (home / str(version)).exists():
                raise
    raise BundleError(f"no free version under {home} after {_PUBLISH_TRIES} tries", fix="publish one at a time")


def file_digests(folder: Path) -> dict[str, str]:
    """Give the sha256 of every file of a folder but its manifest."""
    return {p.name: sha256_of(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST_FILE}


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Hold every file against its sha256.

    Raises:
        BundleError: When one is missing or differs.
    """
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"{file} is missing", fix="publish the bundle again; it was not copied whole")
        if sha256_of(file) != expected:
            raise BundleError(f"{file} does not match the sha256 in its manifest", fix="publish the bundle again")


def not_plain(names: Iterable[str]) -> list[str]:
    """Name the files that would stand outside their folder, sorted."""
    return sorted(name for name in names if name in {"", ".", ".."} or set(name) & set("/\\\0"))


def sha256_of(path: Path) -> str:
    """Hash a file without reading it whole into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
