"""Prefix and suffix in one graph, so that a candidate's features give what its item in the table gives."""

import onnx
from onnx import helper

__all__ = ["join_halves"]

_OF_PREFIX = "prefix/"


def join_halves(prefix: onnx.ModelProto, suffix: onnx.ModelProto, inputs: tuple[str, ...]) -> onnx.ModelProto:
    """Give the graph that computes the shares of its candidates and reads them in their order.

    Args:
        inputs: Names of the whole graph's inputs, in order.
    """
    shares = {output.name for output in prefix.graph.output}
    of_prefix, constants = _renamed(prefix, shares)
    rows = [
        helper.make_node("Shape", ["request_index"], ["rows/shape"]),
        helper.make_node("Squeeze", ["rows/shape"], ["rows/count"]),
        helper.make_node("Range", ["rows/zero", "rows/count", "rows/one"], ["candidate_rows"]),
    ]
    numbers = [
        helper.make_tensor(f"rows/{name}", onnx.TensorProto.INT64, [], [n]) for name, n in (("zero", 0), ("one", 1))
    ]
    given = {each.name: each for each in (*prefix.graph.input, *suffix.graph.input)}
    graph = helper.make_graph(
        [*of_prefix, *rows, *suffix.graph.node],
        "whole",
        [given[name] for name in inputs],
        suffix.graph.output,
        [*constants, *numbers, *suffix.graph.initializer],
    )
    return _with_shared_constants(
        helper.make_model(graph, opset_imports=suffix.opset_import, ir_version=suffix.ir_version)
    )


def _renamed(prefix: onnx.ModelProto, shares: set[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    fixed = shares | {each.name for each in prefix.graph.input} | {""}

    def renamed(name: str) -> str:
        return name if name in fixed else _OF_PREFIX + name

    nodes, constants = [], []
    for node in prefix.graph.node:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        copy.name = ""
        copy.input[:] = [renamed(name) for name in node.input]
        copy.output[:] = [renamed(name) for name in node.output]
        nodes.append(copy)
    for constant in prefix.graph.initializer:
        copied = onnx.TensorProto.FromString(constant.SerializeToString())
        copied.name = renamed(constant.name)
        constants.append(copied)
    return nodes, constants


def _with_shared_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep equal floats once: both halves bring the embedding table.

    8-bit constants stay as many as they are: where ONNX Runtime rewrites them for old processors, it takes each for
    the only reader's.
    """
    kept: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    instead: dict[str, str] = {}
    constants = []
    for constant in model.graph.initializer:
        key = (constant.data_type, tuple(constant.dims), constant.raw_data)
        if constant.data_type == onnx.TensorProto.FLOAT and constant.raw_data and key in kept:
            instead[constant.name] = kept[key]
            continue
        kept[key] = constant.name
        constants.append(constant)
    for node in model.graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    return model
