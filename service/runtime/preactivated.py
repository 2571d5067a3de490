"""Items whose share of the network is computed once, at load; what a list needs is then taken by row.

A candidate that is in the item table, as it stands there, goes through the suffix graph; one that is not, or that
carries values of its own, through the whole graph. Which way a candidate goes depends on itself alone, so its
answer does not depend on what it is batched with.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray

from contract.arrays import FloatArray, GraphInputs, Predictions, SideArrays
from contract.bundle import Bundle
from contract.manifest import Manifest, PreActivation, TensorSpec
from service.errors import InferenceFailed, ModelRejected
from service.ports import ModelRuntime
from service.runtime.onnx import check_specs, open_session, run_session

__all__ = ["HalfGraphs", "ItemShares", "PreActivatedRuntime", "open_halves", "preactivate"]

_log = structlog.get_logger(__name__)
_CHUNK_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class ItemShares:
    """What each item adds to the first layers.

    Args:
        tables: By name of the share, ``[items, width]``; read by all requests, written by none.
        items: Rows that are kept: the first ones of the item table.
    """

    tables: dict[str, NDArray[Any]]
    items: int

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(table.nbytes for table in self.tables.values())


class HalfGraphs:
    """The prefix and the suffix of a bundle, open.

    Args:
        spec: Of the manifest.
        prefix: From candidate tensors to shares.
        suffix: From request tensors, shares and rows to the graph's outputs.
        outputs: Names of the outputs to ask for.
    """

    def __init__(
        self,
        *,
        spec: PreActivation,
        prefix: ort.InferenceSession,
        suffix: ort.InferenceSession,
        outputs: tuple[str, ...],
    ) -> None:
        self.spec = spec
        self._prefix = prefix
        self._suffix = suffix
        self._outputs = outputs

    @classmethod
    def open(cls, bundle: Bundle, spec: PreActivation, *, threads: int) -> "HalfGraphs":
        """Open both graphs and compare them with the manifest.

        Raises:
            ModelRejected: When one cannot be opened, or is not what the manifest says.
        """
        prefix, suffix = (open_session(bundle.path / name, threads=threads) for name in (spec.prefix, spec.suffix))
        manifest = bundle.manifest
        check_specs("input", prefix.get_inputs(), _candidate_inputs(manifest))
        # Shares carry the rows' name K in a table and N where they are made: sizes that are words match any.
        check_specs("output", prefix.get_outputs(), spec.shares)
        check_specs("input", suffix.get_inputs(), _suffix_inputs(manifest, spec))
        check_specs("output", suffix.get_outputs(), manifest.outputs)
        return cls(spec=spec, prefix=prefix, suffix=suffix, outputs=tuple(each.name for each in manifest.outputs))

    def shares_of(self, encoded: SideArrays) -> ItemShares:
        """Compute the shares of encoded candidates, some thousands at a time.

        Raises:
            InferenceFailed: When the graph fails.
        """
        size, names = len(encoded), [share.name for share in self.spec.shares]
        tables = {
            share.name: np.empty((size, int(share.shape[1])), dtype=np.dtype(share.dtype)) for share in self.spec.shares
        }
        for start in range(0, size, _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            for name, part in run_session(self._prefix, names, encoded.take(rows).feeds("candidate")).items():
                tables[name][rows] = part
        return ItemShares(tables=tables, items=size)

    def run(self, inputs: GraphInputs, rows: NDArray[np.int64], shares: ItemShares) -> Predictions:
        """Give the outputs for candidates that stand in *rows* of the shares, float32 ``[N]``.

        Raises:
            InferenceFailed: When the graph fails.
        """
        feeds = inputs.request.feeds("request") | shares.tables
        feeds |= {"candidate_rows": rows, "request_index": inputs.request_index}
        return run_session(self._suffix, self._outputs, feeds)


class PreActivatedRuntime:
    """Runs known items through the suffix and the rest through the whole graph.

    Args:
        whole: Runs the whole graph.
        halves: Made of the same network.
        shares: Of the item table.
    """

    def __init__(self, *, whole: ModelRuntime, halves: HalfGraphs, shares: ItemShares) -> None:
        self._whole = whole
        self._parts: tuple[HalfGraphs, ItemShares] | None = (halves, shares)

    def run(self, inputs: GraphInputs) -> Predictions:
        """Give the graph's outputs by name, float32 ``[N]``.

        Raises:
            InferenceFailed: When a graph fails, or was closed.
        """
        if self._parts is None:
            raise InferenceFailed("the graph is closed", fix="ask the registry for the version that serves now")
        halves, shares = self._parts
        rows = inputs.rows
        if rows is None or not len(rows):
            return self._whole.run(inputs)
        known = (rows >= 0) & (rows < shares.items)
        if known.all():
            return halves.run(inputs, rows, shares)
        if not known.any():
            return self._whole.run(inputs)
        of_known, of_rest = inputs.take(np.flatnonzero(known)), inputs.take(np.flatnonzero(~known))
        return _joined(known, halves.run(of_known, rows[known], shares), self._whole.run(of_rest))

    def close(self) -> None:
        """Let the graphs and the shares go with their last reference."""
        self._parts = None
        self._whole.close()


def preactivate(
    bundle: Bundle, whole: ModelRuntime, halves: HalfGraphs | None, items: SideArrays, *, most_bytes: int
) -> ModelRuntime:
    """Compute the shares of an item table and give the runtime that uses them.

    A table that is larger than *most_bytes* keeps its first rows; those behind go through the whole graph. Which
    rows are kept never changes while requests run, so nothing has to be locked, and who writes the table decides:
    put the items that are asked for most in front.

    Args:
        items: The encoded item table.
        halves: None where the bundle has none; the whole graph then runs for all.
        most_bytes: Memory that the shares may take; 0 keeps none.

    Raises:
        InferenceFailed: When the prefix graph fails on the table.
    """
    if halves is None:
        return whole
    kept = min(len(items), most_bytes // halves.spec.item_bytes)
    if kept == 0:
        return whole
    shares = halves.shares_of(items.take(slice(kept)))
    _log.info(
        "items_preactivated",
        model=bundle.manifest.name,
        version=bundle.version,
        items=kept,
        of=len(items),
        mebibytes=round(shares.nbytes / 2**20, 1),
    )
    return PreActivatedRuntime(whole=whole, halves=halves, shares=shares)


def open_halves(bundle: Bundle, *, threads: int) -> HalfGraphs | None:
    """Open the two graphs of a bundle; None where it has none.

    Raises:
        ModelRejected: When one cannot be opened, or is not what the manifest says.
    """
    spec = bundle.manifest.preactivation
    return None if spec is None else HalfGraphs.open(bundle, spec, threads=threads)


def _joined(known: NDArray[np.bool_], of_known: Predictions, of_rest: Predictions) -> Predictions:
    if of_known.keys() != of_rest.keys():
        raise ModelRejected("the two graphs have other outputs than the whole one", fix="export it again")
    return {name: _merged(known, of_known[name], of_rest[name]) for name in of_known}


def _merged(known: NDArray[np.bool_], of_known: FloatArray, of_rest: FloatArray) -> FloatArray:
    values = np.empty(len(known), dtype=np.float32)
    values[known], values[~known] = of_known, of_rest
    return values


def _candidate_inputs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    return tuple(spec for spec in manifest.inputs if spec.name.startswith("candidate_"))


def _suffix_inputs(manifest: Manifest, spec: PreActivation) -> tuple[TensorSpec, ...]:
    ours = tuple(each for each in manifest.inputs if not each.name.startswith("candidate_"))
    return (*ours, *spec.shares, TensorSpec(name="candidate_rows", dtype="int64", shape=("N",)))
