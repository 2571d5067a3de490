"""A graph on ONNX Runtime, checked against its manifest when it is opened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from contract.arrays import GraphInputs, Predictions
from contract.manifest import Manifest, TensorSpec
from service.errors import InferenceFailed, ModelRejected

__all__ = ["OnnxRuntime"]

_DTYPES = {"tensor(int64)": "int64", "tensor(float)": "float32"}


class OnnxRuntime:
    """Runs an exported graph. ONNX Runtime releases the GIL, so threads are enough.

    Args:
        session: An open session.
        outputs: Names of the graph outputs to ask for.
    """

    def __init__(self, session: ort.InferenceSession, outputs: tuple[str, ...]) -> None:
        self._session: ort.InferenceSession | None = session
        self._outputs = outputs

    @classmethod
    def open(cls, path: Path, manifest: Manifest, *, threads: int) -> "OnnxRuntime":
        """Open a graph and compare it with its manifest.

        Raises:
            ModelRejected: When it cannot be opened, or is not what the manifest says.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelRejected(f"{path} is no graph that can run: {error}", fix="export it again") from error
        _check("input", session.get_inputs(), manifest.inputs)
        _check("output", session.get_outputs(), manifest.outputs)
        return cls(session, tuple(spec.name for spec in manifest.outputs))

    def run(self, inputs: GraphInputs) -> Predictions:
        """Give the graph's outputs by name, float32 ``[N]``.

        Raises:
            InferenceFailed: When the graph fails, or was closed.
        """
        session = self._session
        if session is None:
            raise InferenceFailed("the graph is closed", fix="ask the registry for the version that serves now")
        try:
            values = session.run(self._outputs, inputs.feeds())
        except Exception as error:
            raise InferenceFailed(
                f"the graph failed: {error}",
                fix="look at the service's log; the next request is not affected",
            ) from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Let the session go; ONNX Runtime frees it with the last reference."""
        self._session = None


def _check(what: str, found: list[Any], declared: tuple[TensorSpec, ...]) -> None:
    """Symbolic sizes may have any name; a size that is fixed on either side must be the same on both."""
    have: Mapping[str, Any] = {argument.name: argument for argument in found}
    want = {spec.name: spec for spec in declared}
    if have.keys() != want.keys():
        raise ModelRejected(
            f"the graph's {what}s are {sorted(have)}, the manifest says {sorted(want)}", fix="export it again"
        )
    for name, spec in want.items():
        dtype, shape = _DTYPES.get(have[name].type, have[name].type), have[name].shape
        fixed = [(a, b) for a, b in zip(shape, spec.shape, strict=False) if isinstance(a, int) or isinstance(b, int)]
        if dtype != spec.dtype or len(shape) != len(spec.shape) or any(a != b for a, b in fixed):
            raise ModelRejected(
                f"{what} {name!r} is {dtype} {shape}, the manifest says {spec.dtype} {list(spec.shape)}",
                fix="export it again",
            )
