"""LightGBM's trees as one ``TreeEnsembleRegressor`` of ONNX, decision by decision what LightGBM does.

LightGBM compares in float64, the graph in float32. Inputs are float32 on both sides, so ``x <= t`` and
``x <= the largest float32 that is no more than t`` are the same question: thresholds are rounded down, not to the
nearest. A missing value (NaN) goes where the split says (``missing_type`` "NaN"), or is a 0 where the split saw none
in training ("None"); both are settled here, into the graph's own way with NaN.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.fusion_bundle import FEATURES_INPUT, SCORE_OUTPUT
from training.errors import ParityError

if TYPE_CHECKING:
    import lightgbm

__all__ = ["export_trees", "float32_at_most"]

_OPSET, _ML_OPSET, _IR = 20, 3, 10
_INFINITE = 1e300


def export_trees(booster: "lightgbm.Booster", path: Path) -> None:
    """Write the booster's best iteration as a graph ``features [N, F] -> score [N]``.

    Raises:
        ParityError: When a split is of a kind that the graph cannot hold.
    """
    dumped = booster.dump_model(num_iteration=booster.best_iteration or -1)
    columns: dict[str, Any] = {name: [] for name in _NODE_COLUMNS + _LEAF_COLUMNS}
    for number, tree in enumerate(dumped["tree_info"]):
        for row in _rows(number, tree["tree_structure"]):
            for name, value in row.items():
                columns[name].append(value)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [FEATURES_INPUT],
        ["sums"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        **columns,
    )
    flat = helper.make_node("Reshape", ["sums", "flat"], [SCORE_OUTPUT])
    graph = helper.make_graph(
        [node, flat],
        "lambdarank",
        [helper.make_tensor_value_info(FEATURES_INPUT, TensorProto.FLOAT, ["N", booster.num_feature()])],
        [helper.make_tensor_value_info(SCORE_OUTPUT, TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat")],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="fulcrum")
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


_NODE_COLUMNS = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes",
    "nodes_truenodeids", "nodes_falsenodeids", "nodes_missing_value_tracks_true",
)  # fmt: skip
_LEAF_COLUMNS = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


def _rows(tree: int, root: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a tree's nodes, numbered as they are met, and the value of each leaf."""
    waiting, taken = [(0, root)], 1
    while waiting:
        number, node = waiting.pop()
        if "split_feature" not in node:
            yield _node(tree, number) | dict(
                zip(_LEAF_COLUMNS, (tree, number, 0, float(node["leaf_value"])), strict=True)
            )
            continue
        left, right, taken = taken, taken + 1, taken + 2
        waiting += [(left, node["left_child"]), (right, node["right_child"])]
        yield _node(tree, number) | {
            "nodes_featureids": int(node["split_feature"]),
            "nodes_values": float32_at_most(float(node["threshold"])),
            "nodes_modes": "BRANCH_LEQ",
            "nodes_truenodeids": left,
            "nodes_falsenodeids": right,
            "nodes_missing_value_tracks_true": int(_missing_goes_left(node)),
        }


def _node(tree: int, number: int) -> dict[str, Any]:
    """Give a leaf; a split overrides what it has."""
    return dict(zip(_NODE_COLUMNS, (tree, number, 0, 0.0, "LEAF", 0, 0, 0), strict=True))


def _missing_goes_left(split: Mapping[str, Any]) -> bool:
    if split["decision_type"] != "<=" or split["missing_type"] not in ("None", "NaN"):
        raise ParityError(
            f"a split is by {split['decision_type']!r} with missing values of type {split['missing_type']!r}",
            fix="fit on numbers, without zero_as_missing",
        )
    return bool(split["default_left"]) if split["missing_type"] == "NaN" else split["threshold"] >= 0.0


def float32_at_most(value: float) -> float:
    """Give the largest float32 that is no more than *value*; LightGBM writes a threshold of infinity as 1e300."""
    if abs(value) >= _INFINITE:
        return math.copysign(math.inf, value)
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
        if float(rounded) > value:
            rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)
