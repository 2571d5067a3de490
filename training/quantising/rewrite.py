"""Products of 8-bit numbers in place of those of floats, chosen so that little else is left to do.

What is quantised: every product with a constant matrix of 16,384 weights and more, which is where the time goes:
first layers and experts. Gates and towers stay in float: they are small, and they decide most.

How: weights symmetric, one scale a column; activations with a range that was measured at export. Ranges measured
anew for each call would cost a pass over the numbers, and would make an answer depend on its neighbours in a batch.
A ReLU in front of a product is free: its result is quantised with 0 as the lowest step, and clipping does the rest.
The sum of a request's share and an item's, both 8-bit, is one saturating addition, so an item's share can be kept
in 8 bits too.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from training.quantising.graph import CONTRIB, Rewriting
from training.quantising.ranges import Range, Scale

__all__ = ["quantise_graph", "share_tables", "tensors_to_measure"]

_LEAST_WEIGHTS = 16_384


def tensors_to_measure(model: onnx.ModelProto) -> list[str]:
    """Name every tensor whose range :func:`quantise_graph` may ask for."""
    graph = Rewriting(model)
    names: set[str] = set()
    for node in filter(lambda each: _is_product(graph, each), model.graph.node):
        names.add(node.input[0])
        names.update(_sum_of_gathers(graph, node.input[0]))
        names |= {node.output[0]} & set(graph.outputs)
    names |= {name for node in model.graph.node for name in _joined_outputs(graph, node)}
    made = {name for node in model.graph.node for name in node.output}
    sources = {graph.makers[name].input[0] for name in names if name in made and graph.makers[name].op_type == "Gather"}
    return sorted((names | sources) & made)


def share_tables(suffix: onnx.ModelProto, shares: tuple[str, ...]) -> tuple[str, ...]:
    """Name the shares that a suffix reads in 8-bit sums alone, so that they can be kept in 8 bits."""
    graph = Rewriting(suffix)
    summed = {
        gathered
        for node in suffix.graph.node
        if _is_product(graph, node)
        for gathered in _sum_of_gathers(graph, node.input[0])
    }
    return tuple(share for share in shares if _gathers_of(graph, share) and _gathers_of(graph, share) <= summed)


def quantise_graph(
    model: onnx.ModelProto, ranges: Mapping[str, Range], tables: Mapping[str, Scale] | None = None
) -> onnx.ModelProto:
    """Give a graph whose large products are of 8-bit numbers.

    Args:
        ranges: Of the tensors that :func:`tensors_to_measure` names.
        tables: Scales of the shares that become 8-bit inputs or outputs of the graph.
    """
    return _Quantiser(Rewriting(model), ranges, tables or {}).run()


class _Quantiser:
    """Walks the old graph once; what a product reads is quantised when the first product asks for it."""

    def __init__(self, graph: Rewriting, ranges: Mapping[str, Range], tables: Mapping[str, Scale]) -> None:
        self.graph, self.ranges, self.tables = graph, ranges, tables
        self.done: dict[str, tuple[str, Scale]] = {}
        self.sources: dict[str, tuple[str, Scale]] = {}

    def run(self) -> onnx.ModelProto:
        for node in self.graph.model.graph.node:
            if _is_product(self.graph, node):
                self._product(node)
            elif _joined_outputs(self.graph, node):
                self._concat(node)
            elif node.output[0] in self.tables:
                self._keep_as_table(node)
            else:
                self.graph.keep(node)
        self.graph.uint8 |= self.tables.keys()
        return self.graph.finish()

    def _concat(self, node: onnx.NodeProto) -> None:
        """Lay the outputs of experts side by side in 8 bits, a quarter of the bytes, and make floats of them once."""
        range_of_all = self.ranges[node.input[0]]
        for name in node.input[1:]:
            range_of_all = range_of_all.joined(self.ranges[name])
        scale = range_of_all.one_sided()
        products = [self.graph.makers[self.graph.makers[name].input[0]] for name in node.input]
        small = [self._product_in_8_bits(product, scale) for product in products]
        axis = onnx.helper.get_attribute_value(node.attribute[0])
        joined = self.graph.add("Concat", *small, axis=axis)
        self.graph.add("DequantizeLinear", joined, self._step(scale), self._zero(scale), out=node.output[0])

    def _product_in_8_bits(self, node: onnx.NodeProto, to: Scale) -> str:
        """Give the product, its bias added, in 8 bits; what lies below the lowest step is clipped."""
        x, scale = self._quantised(node.input[0])
        weights, steps = _quantised_weights(_weights(self.graph, node))
        bias = ""
        if len(node.input) > 2:
            given = np.asarray(self.graph.constants[node.input[2]], np.float64)
            bias = self._constant(np.round(given / (scale.step * steps)).astype(np.int32))
        zeros = self._constant(np.zeros(len(steps), np.int8))
        of_x, of_result = (self._step(scale), self._zero(scale)), (self._step(to), self._zero(to))
        of_weights = (self._constant(weights), self._constant(steps), zeros)
        return self.graph.add("QGemm", x, *of_x, *of_weights, bias, *of_result, domain=CONTRIB)

    def _keep_as_table(self, node: onnx.NodeProto) -> None:
        """Quantise the result of a small product, which itself stays in float."""
        copy, out = onnx.NodeProto.FromString(node.SerializeToString()), node.output[0]
        copy.output[0] = f"q_float_{out}"
        self.graph.keep(copy)
        self._quantise(copy.output[0], self.tables[out], out=out)

    def _product(self, node: onnx.NodeProto) -> None:
        x, scale = self._quantised(node.input[0])
        weights, steps = _quantised_weights(_weights(self.graph, node))
        out, added = node.output[0], node.input[2] if len(node.input) > 2 else ""
        if out in self.tables and not added:
            self._product_to_table(x, scale, weights, steps, out)
            return
        bias = added if added in self.graph.constants else ""
        inputs = (x, self._constant(weights), self._step(scale), self._constant(steps), self._zero(scale), "", bias)
        if added and not bias:
            product = self.graph.add("MatMulIntegerToFloat", *inputs[:5], domain=CONTRIB)
            self.graph.add("Add", product, added, out=out)
        elif out in self.tables:
            product = self.graph.add("MatMulIntegerToFloat", *inputs, domain=CONTRIB)
            self._quantise(product, self.tables[out], out=out)
        else:
            kept = inputs if bias else inputs[:5]
            self.graph.add("MatMulIntegerToFloat", *kept, domain=CONTRIB, out=out)

    def _product_to_table(
        self, x: str, scale: Scale, weights: NDArray[np.int8], steps: NDArray[np.float32], out: str
    ) -> None:
        to, zeros = self.tables[out], np.zeros(len(steps), np.int8)
        of_weights = (self._constant(weights), self._constant(steps), self._constant(zeros))
        of_result = (self._step(to), self._zero(to))
        self.graph.add("QLinearMatMul", x, self._step(scale), self._zero(scale), *of_weights, *of_result, out=out)

    def _quantised(self, name: str) -> tuple[str, Scale]:
        if name not in self.done:
            self.done[name] = self._quantise_anew(name)
        return self.done[name]

    def _quantise_anew(self, name: str) -> tuple[str, Scale]:
        if not _is_made_by(self.graph, name, "Relu"):
            scale = self.ranges[name].two_sided()
            return self._quantise(name, scale), scale
        scale, before = self.ranges[name].one_sided(), self.graph.makers[name].input[0]
        summands = _sum_of_gathers(self.graph, name)
        if not any(self._table_of(each) for each in summands):
            product = self.graph.makers[before]
            small = _has_constant_bias(self.graph, product)
            return self._product_in_8_bits(product, scale) if small else self._quantise(before, scale), scale
        sides: list[str] = []
        for each in summands:
            gathered, of_it = self._gathered(each)
            sides += [gathered, self._step(of_it), self._zero(of_it)]
        out = self.graph.add("QLinearAdd", *sides, self._step(scale), self._zero(scale), domain=CONTRIB)
        return out, scale

    def _gathered(self, name: str) -> tuple[str, Scale]:
        """Quantise before the rows are taken, not after: there are fewer."""
        node = self.graph.makers[name]
        table = self._table_of(name)
        if table is not None:
            return self.graph.add("Gather", *node.input), self.tables[table]
        source = node.input[0]
        if source not in self.sources:
            scale = self.ranges[source].two_sided()
            self.sources[source] = self._quantise(source, scale), scale
        quantised, scale = self.sources[source]
        return self.graph.add("Gather", quantised, node.input[1]), scale

    def _table_of(self, gathered: str) -> str | None:
        source = self.graph.makers[gathered].input[0]
        while _is_made_by(self.graph, source, "Reshape"):
            source = self.graph.makers[source].input[0]
        return source if source in self.tables else None

    def _quantise(self, name: str, scale: Scale, out: str | None = None) -> str:
        return self.graph.add("QuantizeLinear", name, self._step(scale), self._zero(scale), out=out)

    def _constant(self, value: NDArray[np.generic]) -> str:
        return self.graph.constant(value)

    def _step(self, scale: Scale) -> str:
        return self.graph.constant(np.array(scale.step, np.float32))

    def _zero(self, scale: Scale) -> str:
        return self.graph.constant(np.array(scale.zero, np.uint8))


def _is_product(graph: Rewriting, node: onnx.NodeProto) -> bool:
    if node.op_type not in ("Gemm", "MatMul") or node.input[1] not in graph.constants:
        return False
    given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
    weights = graph.constants[node.input[1]]
    return plain and weights.ndim == 2 and weights.size >= _LEAST_WEIGHTS


def _has_constant_bias(graph: Rewriting, node: onnx.NodeProto) -> bool:
    """Tell whether the node is a product that adds nothing, or a constant row."""
    if not _is_product(graph, node):
        return False
    return len(node.input) < 3 or (node.input[2] in graph.constants and graph.constants[node.input[2]].ndim == 1)


def _joined_outputs(graph: Rewriting, node: onnx.NodeProto) -> tuple[str, ...]:
    """Name what a Concat lays side by side, where all of it is ``Relu(product)``; nothing for any other node."""
    if node.op_type != "Concat" or not all(_is_made_by(graph, name, "Relu") for name in node.input):
        return ()
    befores = [graph.makers[name].input[0] for name in node.input]
    made = all(name in graph.makers and _has_constant_bias(graph, graph.makers[name]) for name in befores)
    return tuple(node.input) if made else ()


def _weights(graph: Rewriting, node: onnx.NodeProto) -> NDArray[np.float32]:
    given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    weights = np.asarray(graph.constants[node.input[1]], np.float32)
    return weights.T if given.get("transB", 0) else weights


def _quantised_weights(weights_IO: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Give 8-bit weights and the step of each column."""
    steps_O = np.maximum(np.abs(weights_IO).max(axis=0), 1e-12) / 127.0
    return np.round(weights_IO / steps_O).astype(np.int8), steps_O.astype(np.float32)


def _is_made_by(graph: Rewriting, name: str, kind: str) -> bool:
    return name in graph.makers and graph.makers[name].op_type == kind


def _sum_of_gathers(graph: Rewriting, name: str) -> tuple[str, ...]:
    """Name both sides of ``Relu(Gather + Gather)``; nothing where the tensor is something else."""
    if not _is_made_by(graph, name, "Relu"):
        return ()
    before = graph.makers[name].input[0]
    if not _is_made_by(graph, before, "Add"):
        return ()
    sides = tuple(graph.makers[before].input)
    return sides if all(_is_made_by(graph, side, "Gather") for side in sides) else ()


def _gathers_of(graph: Rewriting, share: str) -> set[str]:
    """Name what is gathered from a table, itself or reshaped; the table's name stands for any other reader."""
    names: set[str] = set()
    for node in graph.readers.get(share, []):
        if node.op_type == "Reshape":
            names |= _gathers_of(graph, node.output[0])
        else:
            names.add(node.output[0] if node.op_type == "Gather" and node.input[0] == share else share)
    return names
