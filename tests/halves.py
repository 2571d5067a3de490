"""The tiny model cut in two: its candidate's share is one number, price and topic."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.bundle import Bundle, publish_bundle
from contract.manifest import PreActivation, TensorSpec
from tests.factories import HEADS, TOPICS, tiny_golden, tiny_graph, tiny_manifest

ITEMS = {
    "topic": ["a", "b", "c", "a", None, "b", "new", "c"],
    "price": [1.0, 2.0, 3.0, 0.5, 4.0, None, 2.5, 1.5],
}
SHARES = (TensorSpec(name="share.sum", dtype="float32", shape=("K", 1)),)


def publish_halved(models: Path, *, suffix_gain: float = 1.0) -> Bundle:
    """Publish the tiny model with its two graphs; another *suffix_gain* makes them disagree with the whole."""
    bare = tiny_manifest("tiny")
    with publish_bundle(models, "tiny") as draft:
        (draft.path / "model.onnx").write_bytes(tiny_graph())
        (draft.path / "prefix.onnx").write_bytes(_prefix())
        (draft.path / "suffix.onnx").write_bytes(_suffix(suffix_gain))
        tiny_golden(bare).save(draft.path / "golden.npz")
        (draft.path / "report.json").write_text("{}\n")
        files = {"files": draft.files(), "preactivation": PreActivation(shares=SHARES)}
        draft.write_manifest(bare.model_copy(update=files))
    assert draft.bundle is not None
    return draft.bundle


def _prefix() -> bytes:
    nodes = [
        helper.make_node("Gather", ["topics", "candidate_ids"], ["topic"], axis=0),
        helper.make_node("Add", ["topic", "candidate_dense"], ["share.sum"]),
    ]
    inputs = [
        helper.make_tensor_value_info("candidate_ids", TensorProto.INT64, ["N", 1]),
        helper.make_tensor_value_info("candidate_dense", TensorProto.FLOAT, ["N", 1]),
    ]
    outputs = [helper.make_tensor_value_info("share.sum", TensorProto.FLOAT, ["N", 1])]
    return _model(nodes, inputs, outputs, [numpy_helper.from_array(TOPICS, "topics")])


def _suffix(gain: float) -> bytes:
    nodes = [
        helper.make_node("Gather", ["request_dense", "request_index"], ["request"], axis=0),
        helper.make_node("Gather", ["share.sum", "candidate_rows"], ["candidate"], axis=0),
        helper.make_node("Add", ["request", "candidate"], ["sum"]),
        helper.make_node("Mul", ["sum", "gain"], ["wide"]),
        helper.make_node("Reshape", ["wide", "flat"], ["log_duration"]),
        helper.make_node("Sigmoid", ["log_duration"], ["ctr"]),
        helper.make_node("Exp", ["log_duration"], ["duration_seconds"]),
    ]
    inputs = [
        helper.make_tensor_value_info("request_dense", TensorProto.FLOAT, ["R", 1]),
        helper.make_tensor_value_info("share.sum", TensorProto.FLOAT, ["K", 1]),
        helper.make_tensor_value_info("candidate_rows", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("request_index", TensorProto.INT64, ["N"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in HEADS]
    constants = [
        numpy_helper.from_array(TOPICS.dtype.type([gain]), "gain"),
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
    ]
    return _model(nodes, inputs, outputs, constants)


def _model(nodes, inputs, outputs, constants) -> bytes:
    graph = helper.make_graph(nodes, "half", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()
