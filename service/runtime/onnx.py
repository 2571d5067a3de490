"""A graph on ONNX Runtime, checked against its manifest when it is opened."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from contract.arrays import GraphInputs, Predictions
from contract.manifest import Manifest, TensorSpec
from service.errors import InferenceFailed, ModelRejected

__all__ = ["OnnxRuntime", "check_specs", "open_session", "run_session"]

_DTYPES = {"tensor(int64)": "int64", "tensor(float)": "float32", "tensor(uint8)": "uint8"}


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
        session = open_session(path, threads=threads)
        check_specs("input", session.get_inputs(), manifest.inputs)
        check_specs("output", session.get_outputs(), manifest.outputs)
        return cls(session, tuple(spec.name for spec in manifest.outputs))

    def run(self, inputs: GraphInputs) -> Predictions:
        """Give the graph's outputs by name, float32 ``[N]``.

        Raises:
            InferenceFailed: When the graph fails, or was closed.
        """
        session = self._session
        if session is None:
            raise InferenceFailed("the graph is closed", fix="ask the registry for the version that serves now")
        return run_session(session, self._outputs, inputs.feeds())

    def close(self) -> None:
        """Let the session go; ONNX Runtime frees it with the last reference."""
        self._session = None


def open_session(path: Path, *, threads: int) -> ort.InferenceSession:
    """Open a graph on the CPU.

    Raises:
        ModelRejected: When it cannot be opened.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Lists differ in length: a plan of memory a length is kept for nothing (docs/benchmarks/log.md).
    options.enable_mem_pattern = False
    if not _sums_8_bit_products_exactly():
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelRejected(f"{path} is no graph that can run: {error}", fix="export it again") from error


@lru_cache(maxsize=1)
def _sums_8_bit_products_exactly(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the processor has VNNI; without it sums saturate unless ONNX Runtime takes a way twice as slow."""
    try:
        return "vnni" in cpuinfo.read_text()
    except OSError:
        return False


def run_session(session: ort.InferenceSession, outputs: Sequence[str], feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Give the named outputs of a graph.

    Raises:
        InferenceFailed: When the graph fails.
    """
    try:
        values = session.run(outputs, feeds)
    except Exception as error:
        raise InferenceFailed(
            f"the graph failed: {error}",
            fix="look at the service's log; the next request is not affected",
        ) from error
    return {name: np.asarray(value) for name, value in zip(outputs, values, strict=True)}


def check_specs(what: str, found: list[Any], declared: tuple[TensorSpec, ...]) -> None:
    """Hold a graph against its manifest; sizes that are words may differ, a number must be the same on both.

    Raises:
        ModelRejected: Naming the first difference.
    """
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
