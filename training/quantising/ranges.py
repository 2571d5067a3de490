"""How large the numbers inside a graph become, measured on real rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

__all__ = ["Range", "Scale", "measure"]

_CUT = 1e-5
"""Share of the values at either end that may be clipped, so that one outlier does not coarsen all others."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The least and the largest number, 0 between them."""

    low: float
    high: float

    def joined(self, other: "Range") -> "Range":
        """Give the range that holds both."""
        return Range(low=min(self.low, other.low), high=max(self.high, other.high))

    def one_sided(self) -> "Scale":
        """Give the scale of what is read through a ReLU: 0 is the lowest step, so clipping is the ReLU."""
        return Scale(step=max(self.high, 1e-12) / 255.0, zero=0)

    def two_sided(self) -> "Scale":
        """Give the scale with 0 in the middle."""
        return Scale(step=max(-self.low, self.high, 1e-12) / 127.0, zero=128)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A number is ``(q - zero) · step``, q from 0 to 255."""

    step: float
    zero: int


def measure(
    model: onnx.ModelProto, names: Iterable[str], batches: Iterable[Mapping[str, NDArray[Any]]]
) -> dict[str, Range]:
    """Run a graph on some batches and give the range of each tensor named."""
    wanted = sorted(set(names))
    if not wanted:  # asked for nothing, a session would give every output
        return {}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    have = {output.name for output in watched.graph.output}
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in wanted if name not in have
    )
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    ranges: dict[str, Range] = {}
    for feeds in batches:
        for name, values in zip(wanted, session.run(wanted, feeds), strict=True):
            found = _range(values)
            ranges[name] = ranges[name].joined(found) if name in ranges else found
    return ranges


def _range(values: NDArray[np.float32]) -> Range:
    low, high = np.quantile(values, (_CUT, 1.0 - _CUT))
    return Range(low=min(0.0, float(low)), high=max(0.0, float(high)))
