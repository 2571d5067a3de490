"""Bundles on disk: ``<models>/<name>/<integer version>/`` with model, manifest, golden rows and report.

A bundle is written into a hidden folder beside its place, manifest last, and published by one rename:
a reader sees the whole bundle or none of it. Versions only grow.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from contract.errors import BundleError, ManifestError
from contract.manifest import Manifest
from contract.versions import (
    MANIFEST_FILE,
    draft_folder,
    file_digests,
    publish_draft,
    sha256_of,
    verify_files,
    version_of,
    versions_in,
)

__all__ = [
    "Bundle",
    "Golden",
    "bundle_names",
    "bundle_versions",
    "latest_bundle",
    "publish_bundle",
    "read_bundle",
    "sha256_of",
]

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
ITEMS_FILE = "items.parquet"


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
    return versions_in(models / name)


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
    return Bundle(version=version_of(path), path=path, manifest=_verified(path))


def _verified(path: Path) -> Manifest:
    manifest = _read_manifest(path / MANIFEST_FILE)
    verify_files(path, manifest.files)
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
    with draft_folder(home) as folder:
        draft = BundleDraft(folder)
        yield draft
        manifest = _verified(folder)
        place = publish_draft(folder, home)
        draft.bundle = Bundle(path=place, version=version_of(place), manifest=manifest)


class BundleDraft:
    """A bundle that is being written; :attr:`bundle` is there after the block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bundle: Bundle | None = None

    def files(self) -> dict[str, str]:
        """Give the sha256 of every file written so far, for the manifest."""
        return file_digests(self.path)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the draft complete."""
        (self.path / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n")
