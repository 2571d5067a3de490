"""The gate that every bundle passes before it serves: its golden rows must give their known answers.

Raw golden requests are encoded with the service's own code and compared bit for bit, then scored and compared
within a tolerance. That checks vocabulary, scaling, graph and calibration at once, and warms the graph up.
"""

from typing import Any

import numpy as np

from contract.arrays import GraphInputs
from contract.bundle import Bundle, Golden
from contract.calibration import apply_calibration
from contract.encoding import Encoder
from contract.errors import ContractError
from service.errors import ModelRejected
from service.ports import ModelRuntime

__all__ = ["check_golden", "example_body"]

TOLERANCE = 1e-4


def check_golden(bundle: Bundle, golden: Golden, encoder: Encoder, runtime: ModelRuntime) -> None:
    """Compare a loaded bundle with its golden rows.

    Raises:
        ModelRejected: Naming the input or the head that differs.
    """
    inputs = GraphInputs.merge([_encode(encoder, query) for query in golden.queries])
    for name, array in inputs.feeds().items():
        wanted = golden.inputs.get(name)
        if wanted is None or array.dtype != wanted.dtype or not np.array_equal(array, wanted):
            raise _rejected(bundle, f"golden rows encode to another {name!r} than they did in training")
    outputs = runtime.run(inputs)
    for head in bundle.manifest.heads:
        got = apply_calibration(head.calibration, outputs[head.output])
        if not np.allclose(got, golden.heads[head.name], rtol=TOLERANCE, atol=TOLERANCE):
            raise _rejected(bundle, f"golden rows give another {head.name!r} than they did in training")


def example_body(name: str, golden: Golden) -> dict[str, Any]:
    """Make a complete rank request from the first golden query."""
    return {"model": name, **golden.queries[0], "top_k": 5, "return": ["heads"]}


def _encode(encoder: Encoder, query: dict[str, Any]) -> GraphInputs:
    columns = {name: column for name, column in query["candidates"].items() if name != "item_id"}
    try:
        return GraphInputs.single(
            encoder.encode_request(query["request"]),
            encoder.encode("candidate", columns, len(query["candidates"]["item_id"]), path="/candidates"),
        )
    except ContractError as error:
        raise ModelRejected(f"golden rows do not encode: {error.detail}", fix="export the bundle again") from error


def _rejected(bundle: Bundle, what: str) -> ModelRejected:
    return ModelRejected(
        f"{bundle.manifest.name} version {bundle.version}: {what}",
        fix="export the bundle again with this release; until then the version before it keeps serving",
    )
