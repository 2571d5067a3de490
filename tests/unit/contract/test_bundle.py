"""Bundles on disk: all or nothing, and never changed unnoticed."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from contract.bundle import Golden, bundle_names, bundle_versions, latest_bundle, publish_bundle, read_bundle
from contract.errors import BundleError, ManifestError
from contract.manifest import Manifest

DOCUMENT = {
    "name": "m", "architecture": "x", "inputs": [], "outputs": [{"name": "ctr", "dtype": "float32", "shape": ["N"]}],
    "features": {"fields": [{"kind": "hashed", "name": "u", "side": "request", "dtype": "int", "table": "u",
                             "buckets": 9}]},
    "tasks": [{"kind": "binary", "name": "ctr"}],
    "heads": [{"name": "ctr", "task": "ctr", "unit": "probability", "output": "ctr"}],
    "fusion": {"formula": "ctr"},
    "provenance": {"created_at": "2026-01-01T00:00:00Z", "commit": "c", "config": {}, "data_fingerprint": "f",
                   "seed": 1, "libraries": {}},
}  # fmt: skip


def manifest(files):
    return Manifest.model_validate_json(json.dumps({**DOCUMENT, "files": files}))


def publish(models):
    with publish_bundle(models, "m") as draft:
        (draft.path / "model.onnx").write_bytes(b"graph")
        draft.write_manifest(manifest(draft.files()))
    return draft.bundle


def test_concurrent_publishers_get_distinct_versions(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        bundles = list(pool.map(lambda _: publish(tmp_path), range(8)))

    assert sorted(bundle.version for bundle in bundles) == bundle_versions(tmp_path, "m") == list(range(1, 9))
    assert latest_bundle(tmp_path, "m").version == 8


def test_a_crash_mid_write_leaves_nothing_visible(tmp_path):
    with pytest.raises(RuntimeError), publish_bundle(tmp_path, "m") as draft:
        (draft.path / "model.onnx").write_bytes(b"half")
        raise RuntimeError

    assert bundle_names(tmp_path) == []
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize("files", [{"model.onnx": "0" * 64}, {"gone": "0" * 64}])
def test_a_draft_that_does_not_verify_is_never_published(tmp_path, files):
    with pytest.raises(BundleError), publish_bundle(tmp_path, "m") as draft:
        (draft.path / "model.onnx").write_bytes(b"graph")
        draft.write_manifest(manifest(files))

    assert list((tmp_path / "m").iterdir()) == []


def test_a_draft_without_a_manifest_is_never_published(tmp_path):
    with pytest.raises(ManifestError), publish_bundle(tmp_path, "m"):
        pass

    assert list((tmp_path / "m").iterdir()) == []


def test_a_changed_file_is_refused(tmp_path):
    bundle = publish(tmp_path)
    bundle.model_path.write_bytes(b"grapH")

    with pytest.raises(BundleError, match="sha256"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("name", ["latest", "01", "-1", "٣"])
def test_a_folder_that_is_not_a_version_is_refused(tmp_path, name):
    renamed = publish(tmp_path).path.rename(tmp_path / "m" / name)

    with pytest.raises(BundleError, match="not an integer"):
        read_bundle(Path(renamed))
    assert bundle_versions(tmp_path, "m") == []


def test_golden_rows_come_back_as_they_were_saved(tmp_path):
    golden = Golden(
        queries=[{"request": {"u": "é"}, "candidates": {"i": [1, None]}}],
        inputs={"request_index": np.array([0, 0])},
        heads={"ctr": np.array([0.25, 0.1], dtype=np.float32)},
    )
    golden.save(tmp_path / "golden.npz")

    read = Golden.load(tmp_path / "golden.npz")

    assert read.queries == golden.queries
    assert read.inputs["request_index"].tolist() == [0, 0]
    assert read.heads["ctr"].tobytes() == golden.heads["ctr"].tobytes()
