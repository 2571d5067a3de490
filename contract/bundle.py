"""Bundles on disk: ``<models>/<name>/<integer version>/`` with model, manifest, golden rows and report.

A bundle is written into a hidden folder beside its place, manifest last, and published by one rename:
a reader sees the whole bundle or none of it. Versions only grow.
"""

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from contract.errors import BundleError, ManifestError
from contract.manifest import Manifest

__all__ = [
    "Bundle",
    "Golden",
    "bundle_names",
    "bundle_versions",
    "latest_bundle",
    "publish_bundle",
    "read_bundle",
]

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
ITEMS_FILE = "items.parquet"
MANIFEST_FILE = "manifest.json"
_PUBLISH_TRIES = 100


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Rows with known answers: parity check, warm-up and load-time gate at once.

    Args:
        queries: Raw requests: ``{"request": {...}, "candidates": {column: [...]}}``, as a client sends them.
        inputs: The encoded arrays of all queries merged, by graph input name.
        heads: Calibrated head name to float32 ``[N]``.
    """

    queries: list[dict[str, Any]]
    inputs: dict[str, NDArray[Any]]
    heads: dict[str, NDArray[np.float32]]

    def save(self, path: Path) -> None:
        """Write the rows to one ``.npz`` without pickled objects."""
        document = np.frombuffer(json.dumps(self.queries).encode(), dtype=np.uint8)
        inputs = {f"input/{name}": array for name, array in self.inputs.items()}
        heads = {f"head/{name}": array for name, array in self.heads.items()}
        np.savez_compressed(path, queries=document, **inputs, **heads)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "Golden":
        """Read rows that :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            parts = {name: stored[name] for name in stored.files}
        return cls(
            queries=json.loads(parts.pop("queries").tobytes()),
            inputs={name[6:]: array for name, array in parts.items() if name.startswith("input/")},
            heads={name[5:]: array for name, array in parts.items() if name.startswith("head/")},
        )


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One published version of one model, its files verified."""

    path: Path
    version: int
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.path / MODEL_FILE

    @property
    def items_path(self) -> Path | None:
        """The item table, where the bundle has one."""
        return self.path / ITEMS_FILE if ITEMS_FILE in self.manifest.files else None

    def golden(self) -> Golden:
        """Read the golden rows."""
        return Golden.load(self.path / GOLDEN_FILE)

    def report(self) -> dict[str, Any]:
        """Read the offline report."""
        report: dict[str, Any] = json.loads((self.path / REPORT_FILE).read_text())
        return report


def bundle_names(models: Path) -> list[str]:
    """Name the models that have at least one published version."""
    if not models.is_dir():
        return []
    return sorted(p.name for p in models.iterdir() if p.is_dir() and bundle_versions(models, p.name))


def bundle_versions(models: Path, name: str) -> list[int]:
    """List the published versions of a model, ascending."""
    folder = models / name
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if _is_version(p.name) and (p / MANIFEST_FILE).is_file())


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name == str(int(name))


def latest_bundle(models: Path, name: str) -> Bundle:
    """Read the newest version of a model.

    Raises:
        BundleError: When the model has no version, or its files do not match the manifest.
    """
    versions = bundle_versions(models, name)
    if not versions:
        raise BundleError(
            f"{models} holds no published version of {name!r}",
            fix="publish one with `fulcrum train … --out DIR`, or point --models at the right folder",
        )
    return read_bundle(models / name / str(versions[-1]))


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and verify the sha256 of each of its files.

    Raises:
        ManifestError: When the manifest cannot be read.
        BundleError: When the folder's name is not an integer, or a file is missing or differs from its checksum.
    """
    if not _is_version(path.name):
        raise BundleError(
            f"{path} is not a version of a model: its name is not an integer",
            fix="name a folder such as <models>/<name>/1",
        )
    return Bundle(path=path, version=int(path.name), manifest=_verified(path))


def _verified(path: Path) -> Manifest:
    manifest = _read_manifest(path / MANIFEST_FILE)
    for name, expected in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise BundleError(f"{file} is missing", fix="publish the bundle again; it was not copied whole")
        if sha256_of(file) != expected:
            raise BundleError(f"{file} does not match the sha256 in its manifest", fix="publish the bundle again")
    return manifest


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(f"{path} does not exist", fix="name a folder that holds a bundle") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(
            f"{path}: {where}: {first['msg']}", fix="export the bundle again with this release of Fulcrum"
        ) from None


@contextlib.contextmanager
def publish_bundle(models: Path, name: str) -> Iterator["BundleDraft"]:
    """Give a hidden folder to write a bundle into, and publish it if the block ends without an error."""
    home = models / name
    home.mkdir(parents=True, exist_ok=True)
    draft = BundleDraft(home / f".draft-{uuid.uuid4().hex}")
    draft.path.mkdir()
    try:
        yield draft
        draft.bundle = _rename_into_place(draft.path, home)
    finally:
        if draft.path.exists():
            shutil.rmtree(draft.path)


class BundleDraft:
    """A bundle that is being written; :attr:`bundle` is there after the block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bundle: Bundle | None = None

    def files(self) -> dict[str, str]:
        """Give the sha256 of every file written so far, for the manifest."""
        return {p.name: sha256_of(p) for p in sorted(self.path.iterdir()) if p.name != MANIFEST_FILE}

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the draft complete."""
        (self.path / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n")


def _rename_into_place(draft: Path, home: Path) -> Bundle:
    """Verify, then take the next free version; another publisher may be faster, so try again above it."""
    manifest = _verified(draft)
    for _ in range(_PUBLISH_TRIES):
        version = max([0, *(int(p.name) for p in home.iterdir() if _is_version(p.name))]) + 1
        try:
            draft.rename(home / str(version))
        except OSError:
            if not (home / str(version)).exists():
                raise
            continue
        return Bundle(path=home / str(version), version=version, manifest=manifest)
    raise BundleError(f"no free version under {home} after {_PUBLISH_TRIES} tries", fix="publish one at a time")


def sha256_of(path: Path) -> str:
    """Hash a file without reading it whole into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
