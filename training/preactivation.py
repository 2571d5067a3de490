"""A network in two graphs: what can be computed once an item, and the rest.

``prefix.onnx`` gives, for candidates, the shares of all first layers that read both sides; ``suffix.onnx`` takes
tables of such shares, the row of each candidate in them, and the request, and gives the heads. One after the other
they are ``model.onnx``. One table a layer: cutting one wide table apart would copy it for every request.

Shape letters: R requests, N candidates, K rows of the tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.arrays import GraphInputs
from contract.features import FeatureSchema
from contract.manifest import PreActivation, TensorSpec
from training.export import (
    CANDIDATE_SIZES,
    REQUEST_SIZES,
    ServingModule,
    check_difference,
    graph_session,
    input_specs,
    output_specs,
    random_inputs,
    write_graph,
)
from training.inputs import TensorInputs, as_tensors
from training.models.layers import FactoredLinear, Features
from training.shares import CandidateShares, NotSeparable, RecordedShares, TakenShares, Unreadable

__all__ = ["Halves", "check_halves", "cut", "export_halves"]

# The exporter takes equal sizes for one, so these differ.
_EXAMPLE_CANDIDATES, _EXAMPLE_ITEMS = 7, 5


class _Recorder:
    """Computes every share as ever, and keeps which layer reads which features."""

    def __init__(self, inputs: TensorInputs) -> None:
        self.inputs = inputs
        self.layers: dict[Features, list[nn.Module]] = {}

    def of(self, features: nn.Module) -> CandidateShares:
        assert isinstance(features, Features)  # noqa: S101 - nothing else asks
        layers = self.layers.setdefault(features, [])
        return RecordedShares(features.embedding.embed_candidate(self.inputs), layers)


class _Tables:
    """Gives shares out of the suffix's inputs."""

    def __init__(self, tables: Mapping[str, Tensor], rows_N: Tensor) -> None:
        self.shares = TakenShares(tables, rows_N)

    def of(self, features: nn.Module) -> CandidateShares:
        return self.shares


class _Prefix(nn.Module):
    """Candidate tensors to the shares of every first layer."""

    def __init__(self, layers: Mapping[Features, list[nn.Module]], inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.readers, self.inputs = layers, inputs
        self.parts = nn.ModuleList([*layers, *(layer for of_one in layers.values() for layer in of_one)])

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, tensors, strict=True))
        unused = tensors[0].new_zeros((1, 0))
        inputs = TensorInputs(
            request_ids=unused,
            request_dense=unused,
            candidate_ids=given.get("candidate_ids", unused),
            candidate_dense=given.get("candidate_dense", unused),
            request_index=unused,
        )
        shares: list[Tensor] = []
        for features, layers in self.readers.items():
            c_NC = features.embedding.embed_candidate(inputs)
            shares += [layer.candidate(c_NC) for layer in layers]  # type: ignore[operator]
        return tuple(shares)


class _Suffix(nn.Module):
    """Request tensors, tables of shares and the candidates' rows to the heads."""

    def __init__(self, module: ServingModule, shares: tuple[TensorSpec, ...], inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names, self.inputs = [share.name for share in shares], inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, tensors, strict=True))
        tables = {name: given[name] for name in self.names}
        unused = given["request_index"].new_zeros((1, 0))
        inputs = _without_candidates(
            request_ids=given.get("request_ids", unused),
            request_dense=given.get("request_dense", unused),
            request_index=given["request_index"],
            shares=_Tables(tables, given["candidate_rows"]),
        )
        return tuple(self.module.heads(inputs).values())


def _without_candidates(**rest: Any) -> TensorInputs:
    nothing: Any = Unreadable()
    return TensorInputs(candidate_ids=nothing, candidate_dense=nothing, **rest)


@dataclass(frozen=True, kw_only=True)
class Halves:
    """A network cut in two.

    Args:
        spec: What the manifest says of it.
        prefix: Candidate tensors, in the order of the graph's inputs, to the shares of each layer.
        suffix: Tensors in the order of :attr:`suffix_inputs` to the heads.
    """

    spec: PreActivation
    prefix: nn.Module
    suffix: nn.Module
    prefix_inputs: tuple[TensorSpec, ...]
    suffix_inputs: tuple[TensorSpec, ...]


def cut(module: ServingModule, schema: FeatureSchema) -> Halves | None:
    """Cut a network at its first layers; None where it reads candidates in any other way."""
    found = _first_layers(module, schema)
    if not found:
        return None
    layers = [cast(FactoredLinear, layer) for of_one in found.values() for layer in of_one]
    paths = {each: path for path, each in module.model.named_modules()}
    for layer in layers:
        layer.share_name = f"share.{paths[layer]}"
    shares = tuple(
        TensorSpec(name=str(layer.share_name), dtype="float32", shape=("K", _width(layer))) for layer in layers
    )
    of_prefix = tuple(spec for spec in input_specs(schema) if spec.name.startswith("candidate_"))
    of_suffix = _suffix_inputs(schema, shares)
    return Halves(
        spec=PreActivation(shares=shares),
        prefix=_Prefix(found, tuple(spec.name for spec in of_prefix)).eval(),
        suffix=_Suffix(module, shares, tuple(spec.name for spec in of_suffix)).eval(),
        prefix_inputs=of_prefix,
        suffix_inputs=of_suffix,
    )


def _first_layers(module: ServingModule, schema: FeatureSchema) -> dict[Features, list[nn.Module]]:
    inputs = as_tensors(random_inputs(schema, 2, 3, np.random.default_rng(0)))
    recorder = _Recorder(inputs)
    probe = _without_candidates(
        request_ids=inputs.request_ids,
        request_dense=inputs.request_dense,
        request_index=inputs.request_index,
        shares=recorder,
    )
    try:
        with torch.no_grad():
            module.heads(probe)
    except NotSeparable:
        return {}
    return {features: layers for features, layers in recorder.layers.items() if layers}


def _suffix_inputs(schema: FeatureSchema, shares: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    ours = [spec for spec in input_specs(schema) if not spec.name.startswith("candidate_")]
    rows = TensorSpec(name="candidate_rows", dtype="int64", shape=("N",))
    return (*ours[:-1], *shares, rows, ours[-1])


def export_halves(module: ServingModule, schema: FeatureSchema, folder: Path) -> PreActivation | None:
    """Write ``prefix.onnx`` and ``suffix.onnx`` beside ``model.onnx`` and hold them against it.

    Returns:
        What the manifest says of them; None where the network cannot be cut, and nothing was written.

    Raises:
        ParityError: When the two give other heads than ``model.onnx``.
    """
    halves = cut(module, schema)
    if halves is None:
        return None
    spec = halves.spec
    example = random_inputs(schema, 3, _EXAMPLE_CANDIDATES, np.random.default_rng(0))
    shares = [share.name for share in spec.shares]
    write_graph(halves.prefix, halves.prefix_inputs, shares, example.feeds(), folder / spec.prefix)
    heads = [output.name for output in output_specs(module.task_specs)]
    write_graph(halves.suffix, halves.suffix_inputs, heads, _suffix_example(example, spec), folder / spec.suffix)
    check_halves(schema, spec, folder)
    return spec


def check_halves(schema: FeatureSchema, halves: PreActivation, folder: Path, *, model: str = "model.onnx") -> float:
    """Compare the two graphs with the whole one at 1, 2, 17 and 256 candidates and 1 and 3 requests.

    Returns:
        The largest difference.

    Raises:
        ParityError: When it is above 1e-5.
    """
    whole, prefix, suffix = (graph_session(folder / name) for name in (model, halves.prefix, halves.suffix))
    rng, worst = np.random.default_rng(2), 0.0
    for requests in REQUEST_SIZES:
        for candidates in CANDIDATE_SIZES:
            inputs = random_inputs(schema, requests, candidates, rng)
            feeds = inputs.feeds()
            shares = prefix.run(None, {each.name: feeds[each.name] for each in prefix.get_inputs()})
            rows = rng.permutation(candidates)  # the candidates need not lie in the table as they are asked
            tables = {spec.name: _placed(share, rows) for spec, share in zip(halves.shares, shares, strict=True)}
            given = _request_feeds(inputs) | tables | {"candidate_rows": rows}
            for name, got, want in zip(
                [each.name for each in whole.get_outputs()],
                suffix.run(None, given),
                whole.run(None, feeds),
                strict=True,
            ):
                worst = max(worst, check_difference(name, got, want, requests, candidates, than="the whole graph"))
    return worst


def _placed(share: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    table = np.empty_like(share)
    table[rows] = share
    return table


def _request_feeds(inputs: GraphInputs) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in inputs.feeds().items() if not name.startswith("candidate_")}


def _suffix_example(example: GraphInputs, halves: PreActivation) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    tables = {
        spec.name: rng.normal(size=(_EXAMPLE_ITEMS, int(spec.shape[1]))).astype(np.float32) for spec in halves.shares
    }
    return _request_feeds(example) | tables | {"candidate_rows": np.arange(_EXAMPLE_CANDIDATES) % _EXAMPLE_ITEMS}


def _width(layer: nn.Module) -> int:
    candidate = layer.candidate
    assert isinstance(candidate, nn.Linear)  # noqa: S101 - a layer that gave a share has a candidate's half
    return candidate.out_features
