"""The graphs of a bundle, quantised in place."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from contract.arrays import GraphInputs
from contract.bundle import MODEL_FILE
from contract.manifest import PreActivation, TensorSpec
from training.errors import QuantisationError
from training.export import graph_session
from training.quantising.join import join_halves
from training.quantising.ranges import measure
from training.quantising.rewrite import quantise_graph, share_tables, tensors_to_measure

__all__ = ["quantise_bundle", "whole_outputs"]


def quantise_bundle(
    folder: Path, halves: PreActivation | None, inputs: Sequence[TensorSpec], rows: Sequence[GraphInputs]
) -> PreActivation | None:
    """Replace the graphs in *folder* by 8-bit ones.

    Where the network is cut in two, the whole graph is made of the halves, so that an item gives the same heads
    from the table as with its features in the request.

    Args:
        folder: Holds the float graphs.
        halves: What they are cut to; None where there is only the whole graph.
        inputs: Of the whole graph.
        rows: Batches to measure ranges on.

    Returns:
        The halves as they are now: shares that are only added to others are 8-bit.

    Raises:
        QuantisationError: When no product is large enough.
    """
    if halves is None:
        whole = _worth_it(onnx.load(folder / MODEL_FILE))
        ranges = measure(whole, tensors_to_measure(whole), (batch.feeds() for batch in rows))
        onnx.save(quantise_graph(whole, ranges), folder / MODEL_FILE)
        return None
    prefix, suffix = onnx.load(folder / halves.prefix), _worth_it(onnx.load(folder / halves.suffix))
    names = tuple(share.name for share in halves.shares)
    small = share_tables(suffix, names)
    of_prefix = measure(
        prefix, {*tensors_to_measure(prefix), *small}, (batch.candidate.feeds("candidate") for batch in rows)
    )
    tables = {name: of_prefix[name].two_sided() for name in small}
    of_suffix = measure(suffix, tensors_to_measure(suffix), _suffix_feeds(folder / halves.prefix, names, rows))
    prefix, suffix = quantise_graph(prefix, of_prefix, tables), quantise_graph(suffix, of_suffix, tables)
    onnx.save(prefix, folder / halves.prefix)
    onnx.save(suffix, folder / halves.suffix)
    onnx.save(join_halves(prefix, suffix, tuple(spec.name for spec in inputs)), folder / MODEL_FILE)
    shares = tuple(
        share.model_copy(update={"dtype": "uint8"}) if share.name in small else share for share in halves.shares
    )
    return halves.model_copy(update={"shares": shares})


def _worth_it(model: onnx.ModelProto) -> onnx.ModelProto:
    if not tensors_to_measure(model):
        raise QuantisationError(
            "no product of this network is large enough to gain from 8-bit weights",
            fix="serve this model without --int8",
        )
    return model


def whole_outputs(graph: Path, rows: Iterable[GraphInputs]) -> dict[str, NDArray[np.float32]]:
    """Run the whole graph over batches."""
    session = graph_session(graph)
    names = [output.name for output in session.get_outputs()]
    parts = [session.run(names, batch.feeds()) for batch in rows]
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def _suffix_feeds(
    prefix: Path, names: tuple[str, ...], rows: Iterable[GraphInputs]
) -> Iterator[dict[str, NDArray[Any]]]:
    session = graph_session(prefix)
    for batch in rows:
        shares = session.run(list(names), batch.candidate.feeds("candidate"))
        place = {"candidate_rows": np.arange(len(batch.request_index)), "request_index": batch.request_index}
        yield batch.request.feeds("request") | dict(zip(names, shares, strict=True)) | place
