"""A tiny model, whole: schema, manifest, ONNX graph and a bundle with golden rows that passes the gate."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.arrays import GraphInputs
from contract.bundle import Bundle, Golden, publish_bundle
from contract.calibration import Platt, apply_calibration
from contract.encoding import Encoder
from contract.features import Categorical, FeatureSchema, Numeric, Standard
from contract.fusion import FusionProfile
from contract.manifest import Manifest, Provenance, TensorSpec
from contract.tasks import BinaryTask, DurationTask, heads_of

TOPICS = np.array([0.0, 0.1, 0.5, -0.5, 1.0], dtype=np.float32)
HEADS = ("ctr", "duration_seconds", "log_duration")
QUERIES = [
    {
        "request": {"hour": 20.0},
        "candidates": {"item_id": ["i1", "i2", "i3"], "topic": ["a", "b", None], "price": [1.0, 2.0, None]},
    },
    {"request": {"hour": 3.0}, "candidates": {"item_id": ["i4", "i5"], "topic": ["c", "new"], "price": [0.5, 4.0]}},
]


def tiny_schema() -> FeatureSchema:
    """One number on the request's side; a topic and a price on the candidate's."""
    return FeatureSchema(
        fields=(
            Numeric(name="hour", side="request", scaling=Standard(mean=12.0, std=6.0), default=12.0),
            Categorical(name="topic", side="candidate", dtype="string", table="topic"),
            Numeric(name="price", side="candidate", scaling=Standard(mean=2.0, std=2.0), default=2.0),
        ),
        vocabularies={"topic": ("a", "b", "c")},
    )


def tiny_manifest(name: str = "tiny") -> Manifest:
    """Give a manifest that fits :func:`tiny_graph`."""
    platt = Platt(slope=1.5, intercept=-0.5)
    click, duration = BinaryTask(name="ctr"), DurationTask(name="duration", given="ctr")
    heads = (heads_of(click)[0].model_copy(update={"calibration": platt}), *heads_of(duration))
    return Manifest(
        name=name,
        architecture="tiny",
        inputs=(
            TensorSpec(name="request_dense", dtype="float32", shape=("R", 1)),
            TensorSpec(name="candidate_ids", dtype="int64", shape=("N", 1)),
            TensorSpec(name="candidate_dense", dtype="float32", shape=("N", 1)),
            TensorSpec(name="request_index", dtype="int64", shape=("N",)),
        ),
        outputs=tuple(TensorSpec(name=head, dtype="float32", shape=("N",)) for head in HEADS),
        features=tiny_schema(),
        tasks=(click, duration),
        heads=heads,
        fusion=FusionProfile(formula="ctr * log1p(duration_seconds)"),
        files={},
        provenance=Provenance(
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            commit="0" * 40,
            config={},
            data_fingerprint="none",
            seed=0,
            libraries={},
        ),
    )


def tiny_outputs(inputs: GraphInputs, *, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Compute in NumPy what :func:`tiny_graph` computes in ONNX; each ``[N]``, before calibration."""
    request = inputs.request.dense[inputs.request_index, 0]
    logit = np.float32(gain) * (request + inputs.candidate.dense[:, 0] + TOPICS[inputs.candidate.ids[:, 0]])
    return {
        "ctr": (1.0 / (1.0 + np.exp(-logit))).astype(np.float32),
        "duration_seconds": np.exp(logit),
        "log_duration": logit,
    }


def tiny_graph(*, gain: float = 1.0, candidate_rows: int | str = "N", outputs: tuple[str, ...] = HEADS) -> bytes:
    """Give the serialised graph; *candidate_rows* an int freezes the size, as a careless export would."""
    rows = candidate_rows
    nodes = [
        helper.make_node("Gather", ["request_dense", "request_index"], ["request"], axis=0),
        helper.make_node("Gather", ["topics", "candidate_ids"], ["topic"], axis=0),
        helper.make_node("Add", ["request", "candidate_dense"], ["both"]),
        helper.make_node("Add", ["both", "topic"], ["sum"]),
        helper.make_node("Mul", ["sum", "gain"], ["wide"]),
        helper.make_node("Reshape", ["wide", "flat"], ["log_duration"]),
        helper.make_node("Sigmoid", ["log_duration"], ["ctr"]),
        helper.make_node("Exp", ["log_duration"], ["duration_seconds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("request_dense", TensorProto.FLOAT, ["R", 1]),
            helper.make_tensor_value_info("candidate_ids", TensorProto.INT64, [rows, 1]),
            helper.make_tensor_value_info("candidate_dense", TensorProto.FLOAT, [rows, 1]),
            helper.make_tensor_value_info("request_index", TensorProto.INT64, [rows]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows]) for name in outputs],
        [
            numpy_helper.from_array(TOPICS, "topics"),
            numpy_helper.from_array(np.array([gain], dtype=np.float32), "gain"),
            numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tiny_inputs(rows: int, *, requests: int = 1, seed: int = 0) -> GraphInputs:
    """Give random encoded rows that fit the graph."""
    random = np.random.default_rng(seed)
    encoder = Encoder(tiny_schema())
    return GraphInputs(
        request=encoder.encode("request", {"hour": random.uniform(0, 24, requests)}, requests),
        candidate=encoder.encode(
            "candidate",
            {"price": random.uniform(0, 5, rows), "topic": random.choice(["a", "b", "c"], rows)},
            rows,
        ),
        request_index=np.sort(random.integers(0, requests, rows)),
    )


def tiny_golden(manifest: Manifest, *, gain: float = 1.0) -> Golden:
    """Give golden rows whose answers come from NumPy, not from the graph under test."""
    encoder = Encoder(manifest.features)
    inputs = GraphInputs.merge([_encode(encoder, query) for query in QUERIES])
    raw = tiny_outputs(inputs, gain=gain)
    heads = {head.name: apply_calibration(head.calibration, raw[head.output]) for head in manifest.heads}
    return Golden(queries=QUERIES, inputs=inputs.feeds(), heads=heads)


def publish_tiny(models: Path, name: str = "tiny", *, gain: float = 1.0) -> Bundle:
    """Publish the next version of the tiny model."""
    bare = tiny_manifest(name)
    with publish_bundle(models, name) as draft:
        (draft.path / "model.onnx").write_bytes(tiny_graph(gain=gain))
        tiny_golden(bare, gain=gain).save(draft.path / "golden.npz")
        (draft.path / "report.json").write_text("{}\n")
        draft.write_manifest(bare.model_copy(update={"files": draft.files()}))
    assert draft.bundle is not None
    return draft.bundle


def _encode(encoder: Encoder, query: dict) -> GraphInputs:
    columns = {name: values for name, values in query["candidates"].items() if name != "item_id"}
    size = len(query["candidates"]["item_id"])
    return GraphInputs.single(encoder.encode_request(query["request"]), encoder.encode("candidate", columns, size))
