"""A graph that is being rewritten: who makes which tensor, who reads it, and what is new."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["CONTRIB", "Rewriting"]

CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""


class Rewriting:
    """Nodes are read from the old graph and written, in order, to a new one.

    Args:
        model: The old graph; not changed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = [output.name for output in model.graph.output]
        self.uint8: set[str] = set()
        """Inputs and outputs of the graph that become 8-bit."""
        self._nodes: list[onnx.NodeProto] = []
        self._new: dict[str, NDArray[Any]] = {}

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant and give its name."""
        name = f"q_const_{len(self._new)}"
        self._new[name] = value
        return name

    def add(self, kind: str, *inputs: str, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output and give the output's name."""
        out = out or f"q_{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [out], domain=domain, **attributes))
        return out

    def keep(self, node: onnx.NodeProto) -> None:
        """Append a node as it is."""
        self._nodes.append(node)

    def finish(self) -> onnx.ModelProto:
        """Give the new graph, without what nothing reads any more."""
        nodes = list(_needed(self._nodes, set(self.outputs)))
        used = {name for node in nodes for name in node.input}
        constants = {name: value for name, value in (self.constants | self._new).items() if name in used}
        graph = helper.make_graph(
            nodes,
            self.model.graph.name,
            [self._typed(each) for each in self.model.graph.input],
            [self._typed(each) for each in self.model.graph.output],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        opsets = [each for each in self.model.opset_import if each.domain != CONTRIB]
        opsets.append(helper.make_opsetid(CONTRIB, 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.model.ir_version)

    def _typed(self, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        if value.name in self.uint8:
            value = onnx.ValueInfoProto.FromString(value.SerializeToString())
            value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
        return value


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> Iterator[onnx.NodeProto]:
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return reversed(kept)
