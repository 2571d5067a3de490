"""Fusion bundles on disk: whole or not at all, and never mistaken for a ranker's."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from contract.bundle import read_bundle
from contract.errors import BundleError, ManifestError
from contract.fusion_bundle import (
    FusionGolden,
    FusionManifest,
    fusion_versions,
    publish_fusion,
    read_fusion,
)

DOCUMENT = {
    "name": "feed", "method": "listnet", "features": [{"name": "ctr", "source": "head"}],
    "utility": {"formula": "click"},
    "provenance": {"created_at": "2026-01-01T00:00:00Z", "commit": "c", "config": {}, "data_fingerprint": "f",
                   "seed": 1, "libraries": {}},
}  # fmt: skip


def _manifest(files, **changes):
    return FusionManifest.model_validate_json(json.dumps({**DOCUMENT, "files": files, **changes}))


def _publish(fusions):
    with publish_fusion(fusions, "feed") as draft:
        (draft.path / "fusion.onnx").write_bytes(b"graph")
        FusionGolden(features=np.ones((2, 1), np.float32), scores=np.zeros(2, np.float32)).save(
            draft.path / "golden.npz"
        )
        draft.write_manifest(_manifest(draft.files()))
    return draft.bundle


def test_what_was_published_is_read_back(tmp_path):
    published = _publish(tmp_path)

    bundle = read_fusion(tmp_path / "feed" / "1")

    assert bundle == published
    assert bundle.golden().features.tolist() == [[1.0], [1.0]]
    assert bundle.model_path.read_bytes() == b"graph"


def test_concurrent_publishers_get_distinct_versions(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        bundles = list(pool.map(lambda _: _publish(tmp_path), range(6)))

    assert sorted(bundle.version for bundle in bundles) == fusion_versions(tmp_path, "feed") == list(range(1, 7))


def test_a_crash_leaves_nothing_visible_and_a_draft_is_no_bundle(tmp_path):
    with pytest.raises(RuntimeError), publish_fusion(tmp_path, "feed") as draft:
        raise RuntimeError
    with pytest.raises(BundleError, match="not published"):
        draft.bundle  # noqa: B018 - reading it is the act

    assert list((tmp_path / "feed").iterdir()) == []


def test_a_changed_file_is_noticed(tmp_path):
    _publish(tmp_path)
    (tmp_path / "feed" / "1" / "fusion.onnx").write_bytes(b"other")

    with pytest.raises(BundleError, match="sha256"):
        read_fusion(tmp_path / "feed" / "1")


def test_a_ranker_and_a_fusion_are_told_apart(tmp_path):
    _publish(tmp_path)

    with pytest.raises(ManifestError):
        read_bundle(tmp_path / "feed" / "1")
    (tmp_path / "other" / "1").mkdir(parents=True)
    (tmp_path / "other" / "1" / "manifest.json").write_text('{"schema_version": 1, "architecture": "mmoe"}')
    with pytest.raises(ManifestError, match="name: Field required") as caught:
        read_fusion(tmp_path / "other" / "1")
    assert "fulcrum fuse fit" in caught.value.fix
    with pytest.raises(ManifestError, match="holds no fusion bundle"):
        read_fusion(tmp_path / "nowhere" / "1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": {"fusion.onnx": "0"}}, "no golden.npz"),
        ({"files": {"fusion.onnx": "0", "golden.npz": "0", "../x": "0"}}, "without a folder"),
        ({"features": [{"name": "ctr", "source": "head"}, {"name": "ctr", "source": "field"}]}, "stands twice"),
        ({"features": []}, "at least 1"),
        ({"features": [{"name": "click", "source": "outcome"}]}, "source"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        _manifest(**{"files": {"fusion.onnx": "0", "golden.npz": "0"}, **changes})
