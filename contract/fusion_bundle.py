"""Fusion bundles: ``<fusions>/<name>/<integer version>/``, a model that makes one score of heads and fields.

::

    fusion.onnx     features float32 [N, F] -> score float32 [N]; a row's score depends on that row alone
    manifest.json   FusionManifest, written last
    golden.npz      rows with known scores: parity check and load-time gate
    report.json     how it did on held-out impressions, beside formulas

The graph holds whatever it needs to scale its inputs and to bear missing ones (NaN): whoever serves it gives heads
and raw field values, in the order of ``features``, and nothing else.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from contract.errors import BundleError, ManifestError
from contract.frozen import Frozen
from contract.manifest import Provenance
from contract.versions import (
    MANIFEST_FILE,
    draft_folder,
    file_digests,
    not_plain,
    publish_draft,
    verify_files,
    version_of,
    versions_in,
)

__all__ = [
    "FEATURES_INPUT",
    "FUSION_FILE",
    "GOLDEN_FILE",
    "REPORT_FILE",
    "SCORE_OUTPUT",
    "FusionBundle",
    "FusionDraft",
    "FusionFeature",
    "FusionGolden",
    "FusionManifest",
    "Utility",
    "fusion_versions",
    "publish_fusion",
    "read_fusion",
]

FUSION_FILE = "fusion.onnx"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
FEATURES_INPUT = "features"
SCORE_OUTPUT = "score"


class FusionFeature(Frozen):
    """One column of the graph's input."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    source: Literal["head", "field"]


class Utility(Frozen):
    """What a ranking is worth: the gain of one candidate.

    Args:
        formula: Expression over outcomes, such as ``click + 0.01 * duration``.
        missing: ``zero`` counts an outcome that is not known as 0; ``mask`` leaves out the rows whose gain is not
            known because of it.
    """

    formula: str = Field(min_length=1)
    missing: Literal["zero", "mask"] = "zero"


class FusionManifest(Frozen):
    """All that the service knows of a fusion bundle; its version is its folder's name.

    Args:
        method: How it was trained.
        features: The columns of the graph's input, in order.
        utility: What it was trained to put first.
        files: Plain file name to sha256 (hex), for every other file of the bundle.
        provenance: ``config`` holds the command and every option.
        metrics: Offline metrics, the headline ones of ``report.json``.
    """

    schema_version: Literal[1] = 1
    kind: Literal["fusion"] = "fusion"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    method: Literal["lambdarank", "listnet"]
    features: tuple[FusionFeature, ...] = Field(min_length=1)
    utility: Utility
    files: dict[str, str]
    provenance: Provenance
    metrics: dict[str, float] = Field(default_factory=dict)

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: tuple[FusionFeature, ...]) -> tuple[FusionFeature, ...]:
        names = [feature.name for feature in features]
        if twice := {name for name in names if names.count(name) > 1}:
            msg = f"the feature {min(twice)!r} stands twice"
            raise ValueError(msg)
        return features

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        if bad := not_plain(files):
            msg = f"files are named without a folder, unlike {bad[0]!r}"
            raise ValueError(msg)
        if missing := {FUSION_FILE, GOLDEN_FILE} - files.keys():
            msg = f"the bundle has no {min(missing)}"
            raise ValueError(msg)
        return files


@dataclass(frozen=True, kw_only=True)
class FusionGolden:
    """Rows with known answers.

    Args:
        features: float32 ``[n, F]``; the last row is missing throughout (NaN).
        scores: float32 ``[n]``, of the exported graph.
    """

    features: NDArray[np.float32]
    scores: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write the rows to one ``.npz`` without pickled objects."""
        np.savez_compressed(path, features=self.features, scores=self.scores)

    @classmethod
    def load(cls, path: Path) -> "FusionGolden":
        """Read rows that :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(features=stored["features"], scores=stored["scores"])


@dataclass(frozen=True, kw_only=True)
class FusionBundle:
    """One published version of one learned fusion, its files verified."""

    path: Path
    version: int
    manifest: FusionManifest

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.path / FUSION_FILE

    def golden(self) -> FusionGolden:
        """Read the golden rows."""
        return FusionGolden.load(self.path / GOLDEN_FILE)

    def report(self) -> dict[str, Any]:
        """Read the offline report."""
        report: dict[str, Any] = json.loads((self.path / REPORT_FILE).read_text())
        return report


def fusion_versions(fusions: Path, name: str) -> list[int]:
    """List the published versions of a learned fusion, ascending."""
    return versions_in(fusions / name)


def read_fusion(path: Path) -> FusionBundle:
    """Read a fusion bundle and verify the sha256 of each of its files.

    Raises:
        ManifestError: When the manifest cannot be read, or is of another kind.
        BundleError: When the folder's name is not an integer, or a file is missing or differs from its checksum.
    """
    return FusionBundle(path=path, version=version_of(path), manifest=_verified(path))


def _verified(path: Path) -> FusionManifest:
    try:
        manifest = FusionManifest.model_validate_json((path / MANIFEST_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(f"{path} holds no fusion bundle", fix="name <fusions>/<name>/<version>") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(
            f"{path / MANIFEST_FILE}: {where}: {first['msg']}", fix="publish it again with `fulcrum fuse fit`"
        ) from None
    verify_files(path, manifest.files)
    return manifest


class FusionDraft:
    """A fusion bundle that is being written; :attr:`bundle` is there after the block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bundle: FusionBundle | None = None

    @property
    def bundle(self) -> FusionBundle:
        """The published bundle.

        Raises:
            BundleError: While it is not published.
        """
        if self._bundle is None:
            raise BundleError(f"{self.path} is not published")
        return self._bundle

    def files(self) -> dict[str, str]:
        """Give the sha256 of every file written so far, for the manifest."""
        return file_digests(self.path)

    def write_manifest(self, manifest: FusionManifest) -> None:
        """Write the manifest, which makes the draft complete."""
        (self.path / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n")

    def publish(self, home: Path) -> None:
        """Verify it and move it to the next free version under *home*."""
        manifest = _verified(self.path)
        place = publish_draft(self.path, home)
        self._bundle = FusionBundle(path=place, version=version_of(place), manifest=manifest)


@contextlib.contextmanager
def publish_fusion(fusions: Path, name: str) -> Iterator[FusionDraft]:
    """Give a hidden folder to write a bundle into, and publish it if the block ends without an error."""
    home = fusions / name
    with draft_folder(home) as folder:
        draft = FusionDraft(folder)
        yield draft
        draft.publish(home)
