"""The peers' network as one of our bundles: the same weights, heads and score, behind our own server.

``shared/peers`` holds one MMoE behind the servers that a team would otherwise pick. Its plain state dict becomes an
:class:`~training.models.mmoe.Mmoe` over 24 request and 16 candidate fields. A field's value is the row of the
embedding table, which all fields of a side share, so any number of the peers' body can be sent as it is. The heads
are the peers' raw outputs, and the formula is their fused answer.

Shapes: E experts of H1 and H2 units, T tasks, tower width W, D embedding width.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from contract.arrays import GraphInputs
from contract.bundle import (
    GOLDEN_FILE,
    ITEMS_FILE,
    MODEL_FILE,
    REPORT_FILE,
    Bundle,
    BundleDraft,
    Golden,
    publish_bundle,
)
from contract.encoding import Encoder
from contract.features import FIRST_ID, Categorical, FeatureSchema, Side
from contract.fusion import FusionProfile
from contract.manifest import Manifest
from contract.tasks import RegressionTask, heads_of
from training.errors import CheckpointError
from training.export import ServingModule, export_graph, graph_session, input_specs, output_specs, random_inputs
from training.golden import encode_query
from training.models.base import ModelConfig
from training.models.mmoe import Mmoe
from training.preactivation import export_halves
from training.provenance import provenance
from training.quantising.bundle import quantise_bundle, whole_outputs
from training.quantising.checks import Allowance, check_noise

__all__ = ["CANDIDATE_FIELDS", "FORMULA", "ITEMS", "REQUEST_FIELDS", "PeerModel", "publish_peers", "read_peers"]

REQUEST_FIELDS = tuple(f"u{j:02d}" for j in range(24))
CANDIDATE_FIELDS = tuple(f"c{j:02d}" for j in range(16))
ITEMS = 20_000
FORMULA = "sigmoid(y0) * log1p(exp(y1))"
_EXPERTS, _TASKS = 8, 4
_GOLDEN_LISTS = (3, 5, 8, 1)


@dataclass(frozen=True, kw_only=True)
class PeerModel:
    """The peers' network, rebuilt.

    Args:
        schema: Its fields; the value of a field is the row of its side's table.
        tasks: ``y0`` … ``y3``, each its tower's raw output.
    """

    schema: FeatureSchema
    tasks: tuple[RegressionTask, ...]
    model: Mmoe

    def module(self) -> ServingModule:
        """Give what is exported."""
        return ServingModule(self.model, self.tasks, [spec.name for spec in input_specs(self.schema)])


def read_peers(path: Path) -> PeerModel:
    """Read the peers' state dict and rebuild its network.

    Raises:
        CheckpointError: When the file is missing, or holds other weights than ``make_model.py`` writes.
    """
    try:
        given: dict[str, Tensor] = torch.load(path, weights_only=True)
        schema, tasks = _schema(len(given["eu.weight"]), len(given["ei.weight"])), _tasks()
        model = Mmoe(schema, tasks, _config(given))
        model.load_state_dict(_our_names(given, model), strict=False)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist", fix="make it with shared/peers/make_model.py DIR") from None
    except (KeyError, RuntimeError, TypeError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{path} is not the peers' network: {error}", fix="make it with shared/peers/make_model.py DIR"
        ) from error
    model.eval()
    return PeerModel(schema=schema, tasks=tasks, model=model)


def publish_peers(peers: PeerModel, models: Path, *, name: str = "peers", seed: int = 0, int8: bool = False) -> Bundle:
    """Publish the network with a table of 20,000 random items, whose ids are the numbers 0 … 19,999.

    Raises:
        ParityError: When the graph and torch disagree.
        QuantisationError: When 8-bit weights move a head by more than a tenth of its spread.
    """
    with publish_bundle(models, name) as draft:
        _write(draft, peers, name, seed, int8=int8)
    assert draft.bundle is not None  # noqa: S101 - publish_bundle raises where it cannot publish
    return draft.bundle


def _schema(request_rows: int, candidate_rows: int) -> FeatureSchema:
    sides: tuple[tuple[Side, tuple[str, ...]], ...] = (("request", REQUEST_FIELDS), ("candidate", CANDIDATE_FIELDS))
    return FeatureSchema(
        fields=tuple(
            Categorical(name=name, side=side, dtype="int", table=f"{side}_rows")
            for side, names in sides
            for name in names
        ),
        vocabularies={
            "request_rows": tuple(range(request_rows)),
            "candidate_rows": tuple(range(candidate_rows)),
        },
    )


def _tasks() -> tuple[RegressionTask, ...]:
    return tuple(RegressionTask(name=f"y{k}") for k in range(_TASKS))


def _config(given: dict[str, Tensor]) -> ModelConfig:
    _, first, last = given["w2"].shape
    return ModelConfig(
        embedding_dim=given["eu.weight"].shape[1],
        hidden=(first, last),
        tower_hidden=(given["towers.0.0.weight"].shape[0],),
        num_experts=_EXPERTS,
        dropout=0.0,
    )


def _our_names(given: dict[str, Tensor], model: Mmoe) -> dict[str, Tensor]:
    """Give the weights under our names: first layers cut into the request's half and the candidate's."""
    request_width = model.features.request_dim
    table = model.features.embedding.weight.weight.detach().clone()
    for weights, start in ((given["eu.weight"], 0), (given["ei.weight"], FIRST_ID + len(given["eu.weight"]))):
        table[start + FIRST_ID : start + FIRST_ID + len(weights)] = weights
    named = {
        "features.embedding.weight.weight": table,
        "experts.deeper.0.weight_EIO": given["w2"],
        "experts.deeper.0.bias_E1O": given["b2"],
    }
    for ours, theirs in (("experts.first", "w1"), ("gate", "gate")):
        named[f"{ours}.request.weight"] = given[f"{theirs}.weight"][:, :request_width]
        named[f"{ours}.request.bias"] = given[f"{theirs}.bias"]
        named[f"{ours}.candidate.weight"] = given[f"{theirs}.weight"][:, request_width:]
    for task, kind in ((k, kind) for k in range(_TASKS) for kind in ("weight", "bias")):
        named[f"towers.y{task}.0.layers.0.{kind}"] = given[f"towers.{task}.0.{kind}"]
        named[f"towers.y{task}.1.{kind}"] = given[f"towers.{task}.2.{kind}"]
    if lost := {name for name, _ in model.named_parameters()} - named.keys():
        msg = f"no weights for {sorted(lost)}"
        raise ValueError(msg)
    return named


def _write(draft: BundleDraft, peers: PeerModel, name: str, seed: int, *, int8: bool) -> None:
    heads = tuple(head for task in peers.tasks for head in heads_of(task))
    export_graph(peers.module(), peers.schema, draft.path / MODEL_FILE)
    halves = export_halves(peers.module(), peers.schema, draft.path)
    report: dict[str, Any] = {"notes": "imported weights; nothing was learnt, so nothing can be measured but noise"}
    if int8:
        rows = [random_inputs(peers.schema, 8, 512, np.random.default_rng([seed, part])) for part in range(8)]
        before = whole_outputs(draft.path / MODEL_FILE, rows[4:])
        halves = quantise_bundle(draft.path, halves, input_specs(peers.schema), rows[:4])
        after = whole_outputs(draft.path / MODEL_FILE, rows[4:])
        report["quantisation"] = check_noise(before, after, Allowance()).model_dump()
    _golden(peers, draft.path / MODEL_FILE, seed).save(draft.path / GOLDEN_FILE)
    (draft.path / REPORT_FILE).write_text(json.dumps(report) + "\n")
    pq.write_table(_items(peers.schema, seed), draft.path / ITEMS_FILE)
    draft.write_manifest(
        Manifest(
            name=name,
            architecture="mmoe",
            inputs=input_specs(peers.schema),
            outputs=output_specs(peers.tasks),
            features=peers.schema,
            tasks=peers.tasks,
            heads=heads,
            fusion=FusionProfile(formula=FORMULA),
            files=draft.files(),
            preactivation=halves,
            precision="int8" if int8 else "float32",
            provenance=provenance({"imported": "peers"}, data_fingerprint="none", seed=seed),
        )
    )


def _items(schema: FeatureSchema, seed: int) -> pa.Table:
    rows = np.random.default_rng(seed).integers(
        0, len(schema.vocabularies["candidate_rows"]), (ITEMS, len(CANDIDATE_FIELDS))
    )
    columns = {name: rows[:, j] for j, name in enumerate(CANDIDATE_FIELDS)}
    return pa.table({"item_id": np.arange(ITEMS), **columns})


def _golden(peers: PeerModel, graph: Path, seed: int) -> Golden:
    rng, encoder = np.random.default_rng(seed + 1), Encoder(peers.schema)
    queries = [_query(peers.schema, size, rng) for size in _GOLDEN_LISTS]
    inputs = GraphInputs.merge([encode_query(encoder, query) for query in queries]).feeds()
    names = [head.output for task in peers.tasks for head in heads_of(task)]
    answers = graph_session(graph).run(names, inputs)
    return Golden(queries=queries, inputs=inputs, heads=dict(zip(names, answers, strict=True)))


def _query(schema: FeatureSchema, size: int, rng: np.random.Generator) -> dict[str, Any]:
    of_request, of_candidates = (len(schema.vocabularies[table]) for table in ("request_rows", "candidate_rows"))
    return {
        "request": {name: int(rng.integers(of_request)) for name in REQUEST_FIELDS},
        "candidates": {
            "item_id": list(range(size)),
            **{name: rng.integers(of_candidates, size=size).tolist() for name in CANDIDATE_FIELDS},
        },
    }
