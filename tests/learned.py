"""A tiny learned fusion: score = ctr + 2 * price, as a published bundle."""

from datetime import UTC, datetime

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.fusion_bundle import (
    FEATURES_INPUT,
    FUSION_FILE,
    GOLDEN_FILE,
    SCORE_OUTPUT,
    FusionFeature,
    FusionGolden,
    FusionManifest,
    Utility,
    publish_fusion,
)
from contract.manifest import Provenance

FEATURES = (FusionFeature(name="ctr", source="head"), FusionFeature(name="price", source="field"))


def publish(fusions, *, name="tiny", features=FEATURES, weights=(1.0, 2.0), golden_gain=1.0):
    """Publish the next version; a golden gain other than 1 makes its golden rows wrong."""
    rows = np.array([[0.1, 3.0], [0.2, 1.0], [np.nan, np.nan]], np.float32)
    scores = (rows @ np.array(weights, np.float32)) * np.float32(golden_gain)
    with publish_fusion(fusions, name) as draft:
        onnx.save(_graph(weights), draft.path / FUSION_FILE)
        FusionGolden(features=rows, scores=scores).save(draft.path / GOLDEN_FILE)
        draft.write_manifest(
            FusionManifest(
                name=name,
                method="listnet",
                features=features,
                utility=Utility(formula="click"),
                files=draft.files(),
                provenance=Provenance(
                    created_at=datetime(2026, 11, 24, tzinfo=UTC),
                    commit="unknown",
                    config={},
                    data_fingerprint="none",
                    seed=0,
                    libraries={},
                ),
            )
        )
    return draft.bundle


def _graph(weights):
    column = numpy_helper.from_array(np.array(weights, np.float32).reshape(-1, 1), "w")
    nodes = [
        helper.make_node("MatMul", [FEATURES_INPUT, "w"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], [SCORE_OUTPUT]),
    ]
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(FEATURES_INPUT, TensorProto.FLOAT, ["N", len(weights)])],
        [helper.make_tensor_value_info(SCORE_OUTPUT, TensorProto.FLOAT, ["N"])],
        [column, axis],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
