"""The gate that every bundle passes before it serves: its golden rows must give their known answers.

Raw golden requests are encoded with the service's own code and compared bit for bit, then scored and compared
within a tolerance. That checks vocabulary, scaling, graph and calibration at once, and warms the graph up. Then
the rows are scored again in other numbers: a graph that only works at its export size, or whose answer for a
row depends on its neighbours, must not be batched.
"""

from typing import Any

import numpy as np

from contract.arrays import GraphInputs, IntArray, Predictions
from contract.bundle import Bundle, Golden
from contract.calibration import apply_calibration
from contract.encoding import Encoder
from contract.errors import ContractError
from service.errors import ModelRejected
from service.ports import ModelRuntime
from service.runtime.preactivated import HalfGraphs

__all__ = ["WARM_UP_ROWS", "check_golden", "check_halves", "example_body", "golden_rows"]

TOLERANCE = 1e-4
WARM_UP_ROWS = (1, 17, 256)


def check_golden(bundle: Bundle, golden: Golden, encoder: Encoder, runtime: ModelRuntime) -> None:
    """Compare a loaded bundle with its golden rows, and warm its graph up.

    Raises:
        ModelRejected: Naming the input or the head that differs.
        InferenceFailed: When the graph fails on the golden rows.
    """
    inputs = golden_rows(golden, encoder)
    _check_inputs(bundle, golden, inputs)
    _check_heads(bundle, golden, runtime.run(inputs), np.arange(len(inputs.request_index)))
    for size in WARM_UP_ROWS:
        rows = np.arange(size) % len(inputs.request_index)
        _check_heads(bundle, golden, runtime.run(inputs.take(rows)), rows)


def check_halves(bundle: Bundle, golden: Golden, encoder: Encoder, halves: HalfGraphs) -> None:
    """Hold the two graphs of a pre-activated bundle against its golden rows, the items laid into a table backwards.

    Raises:
        ModelRejected: Naming the head that differs.
        InferenceFailed: When a graph fails on the golden rows.
    """
    inputs = GraphInputs.merge([_encode(encoder, query) for query in golden.queries])
    backwards = np.arange(len(inputs.request_index))[::-1]
    shares = halves.shares_of(inputs.candidate.take(backwards))
    for size in (len(backwards), *WARM_UP_ROWS):
        rows = np.arange(size) % len(backwards)
        _check_heads(bundle, golden, halves.run(inputs.take(rows), backwards[rows], shares), rows)


def golden_rows(golden: Golden, encoder: Encoder) -> GraphInputs:
    """Encode the golden requests.

    Raises:
        ModelRejected: When they do not encode.
    """
    return GraphInputs.merge([_encode(encoder, query) for query in golden.queries])


def example_body(name: str, golden: Golden) -> dict[str, Any]:
    """Make a complete rank request from the first golden query."""
    return {"model": name, **golden.queries[0], "top_k": 5, "return": ["heads"]}


def _check_inputs(bundle: Bundle, golden: Golden, inputs: GraphInputs) -> None:
    feeds = inputs.feeds()
    if feeds.keys() != golden.inputs.keys():
        raise _rejected(bundle, f"golden rows encode to {sorted(feeds)}, in training to {sorted(golden.inputs)}")
    for name, array in feeds.items():
        if array.dtype != golden.inputs[name].dtype or not np.array_equal(array, golden.inputs[name]):
            raise _rejected(bundle, f"golden rows encode to another {name!r} than they did in training")


def _check_heads(bundle: Bundle, golden: Golden, outputs: Predictions, rows: IntArray) -> None:
    for head in bundle.manifest.heads:
        got = apply_calibration(head.calibration, outputs[head.output])
        if head.name not in golden.heads:
            raise _rejected(bundle, f"the golden rows have no {head.name!r}")
        wanted = golden.heads[head.name][rows]
        if not np.isfinite(got).all():
            raise _rejected(bundle, f"{head.name!r} is not finite on {len(rows)} golden rows")
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            raise _rejected(bundle, f"{len(rows)} golden rows give another {head.name!r} than they did in training")


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
