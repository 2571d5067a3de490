"""A trained model to an ONNX graph with named, finished heads, checked against torch before anyone sees it."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxscript.optimizer import optimize
from torch import Tensor, nn

from contract.arrays import GraphInputs, SideArrays
from contract.features import SIDES, FeatureSchema, Side
from contract.manifest import TensorSpec
from contract.tasks import BinaryTask, Task, heads_of
from training.errors import ParityError
from training.heads.registry import head_of
from training.inputs import TensorInputs
from training.models.base import MultiTaskModel

__all__ = [
    "CANDIDATE_SIZES",
    "REQUEST_SIZES",
    "TOLERANCE",
    "ServingModule",
    "check_difference",
    "check_parity",
    "export_graph",
    "graph_session",
    "input_specs",
    "output_specs",
    "quiet_exporter",
    "random_inputs",
    "write_graph",
]

TOLERANCE = 1e-5
CANDIDATE_SIZES = (1, 2, 17, 256)
REQUEST_SIZES = (1, 3)
# The exporter takes sizes 0 and 1 for constants, so the example has more.
_EXAMPLE_REQUESTS, _EXAMPLE_CANDIDATES = 3, 7
_FOLDED_VALUES = 2**27


class ServingModule(nn.Module):
    """The model with everything that is fixed at export: sigmoids, and the way back to seconds.

    Args:
        model: Trained.
        tasks: With their debiasing fitted.
        inputs: Names of the graph's inputs, in order; a side without columns of a kind has none.
    """

    def __init__(self, model: MultiTaskModel, tasks: Sequence[Task], inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.task_specs = tuple(tasks)
        self.inputs = tuple(inputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Give every head, ``[N]`` each, in the order of the tasks."""
        given = dict(zip(self.inputs, tensors, strict=True))
        unused = given["request_index"].new_zeros((1, 0))
        inputs = TensorInputs(
            request_ids=given.get("request_ids", unused),
            request_dense=given.get("request_dense", unused),
            candidate_ids=given.get("candidate_ids", unused),
            candidate_dense=given.get("candidate_dense", unused),
            request_index=given["request_index"],
        )
        return tuple(self.heads(inputs).values())

    def heads(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give every head by name, ``[N]`` each, in the order of the tasks."""
        raw = self.model.served(self.model(inputs))
        own = {task.name: head_of(task).finish(raw[task.name], inputs) for task in self.task_specs}
        values = (head for task in self.task_specs for head in (*own[task.name], *_joint(task, self.task_specs, own)))
        names = (head.name for task in self.task_specs for head in heads_of(task))
        return dict(zip(names, values, strict=True))


def _joint(task: Task, tasks: Sequence[Task], own: Mapping[str, tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Give P(this and all that it is given), where the task has that head."""
    if not isinstance(task, BinaryTask) or task.joint is None:
        return ()
    by_name = {each.name: each for each in tasks}
    joint_N, parent = own[task.name][0], task.given
    while parent is not None:
        joint_N = joint_N * own[parent][0]
        parent = by_name[parent].given
    return (joint_N,)


def input_specs(schema: FeatureSchema) -> tuple[TensorSpec, ...]:
    """Give the graph's inputs; ``R`` requests, ``N`` candidates."""
    specs: list[TensorSpec] = []
    for side, rows in zip(SIDES, "RN", strict=True):
        if width := schema.id_columns(side):
            specs.append(TensorSpec(name=f"{side}_ids", dtype="int64", shape=(rows, width)))
        if width := schema.dense_columns(side):
            specs.append(TensorSpec(name=f"{side}_dense", dtype="float32", shape=(rows, width)))
    return (*specs, TensorSpec(name="request_index", dtype="int64", shape=("N",)))


def output_specs(tasks: Sequence[Task]) -> tuple[TensorSpec, ...]:
    """Give the graph's outputs, one a head."""
    return tuple(
        TensorSpec(name=head.output, dtype="float32", shape=("N",)) for task in tasks for head in heads_of(task)
    )


def export_graph(module: ServingModule, schema: FeatureSchema, path: Path) -> None:
    """Write the graph and check its parity with torch.

    Raises:
        ParityError: When ONNX Runtime and torch differ by more than 1e-5 at any checked size.
    """
    module.eval()
    specs = input_specs(schema)
    example = random_inputs(schema, _EXAMPLE_REQUESTS, _EXAMPLE_CANDIDATES, np.random.default_rng(0))
    outputs = [spec.name for spec in output_specs(module.task_specs)]
    write_graph(module, specs, outputs, example.feeds(), path)
    check_parity(module, schema, path)


def write_graph(
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
    example: Mapping[str, NDArray[Any]],
    path: Path,
) -> None:
    """Trace a module on an example and write its graph; the first size of every input stays free.

    Args:
        module: Takes ``*tensors`` in the order of *inputs*.
    """
    sizes = {str(spec.shape[0]): torch.export.Dim(str(spec.shape[0])) for spec in inputs}
    with quiet_exporter():
        program = torch.onnx.export(
            module,
            tuple(torch.from_numpy(example[spec.name]) for spec in inputs),
            input_names=[spec.name for spec in inputs],
            output_names=list(outputs),
            dynamic_shapes=(tuple({0: sizes[str(spec.shape[0])]} for spec in inputs),),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - the dynamo exporter always gives a program
    with quiet_exporter():
        # Weights made of weights (a factorised tensor, a gated matrix) become one; the exporter folds small ones only.
        optimize(program.model, input_size_limit=_FOLDED_VALUES, output_size_limit=_FOLDED_VALUES)
    program.save(path, external_data=False)
    onnx.checker.check_model(str(path))


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's remarks about torch's own internals, and about torchvision, from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_parity(module: ServingModule, schema: FeatureSchema, path: Path) -> float:
    """Compare ONNX Runtime with torch at 1, 2, 17 and 256 candidates and 1 and 3 requests.

    Durations are compared relative to their size above 1 s, all else absolutely.

    Returns:
        The largest difference.

    Raises:
        ParityError: When it is above 1e-5.
    """
    session, rng, worst = graph_session(path), np.random.default_rng(1), 0.0
    for requests in REQUEST_SIZES:
        for candidates in CANDIDATE_SIZES:
            feeds = random_inputs(schema, requests, candidates, rng).feeds()
            with torch.no_grad():
                wanted = module(*(torch.from_numpy(feeds[name]) for name in module.inputs))
            for name, got, want in zip(
                [spec.name for spec in output_specs(module.task_specs)],
                session.run(None, feeds),
                wanted,
                strict=True,
            ):
                worst = max(worst, check_difference(name, got, want.numpy(), requests, candidates))
    return worst


def check_difference(
    name: str,
    got: NDArray[np.float32],
    want: NDArray[np.float32],
    requests: int,
    candidates: int,
    *,
    than: str = "torch",
) -> float:
    """Give the largest difference of a head, relative where it is above 1.

    Raises:
        ParityError: When it is above 1e-5.
    """
    size = np.maximum(1.0, np.abs(want))
    difference = float(np.max(np.abs(got - want) / size)) if got.shape == want.shape else float("inf")
    if not difference <= TOLERANCE:
        raise ParityError(
            f"head {name!r} differs by {difference:.2g} from {than} at {requests} requests × {candidates} candidates",
            fix="an operator was exported with another meaning; this model cannot be served",
        )
    return difference


def graph_session(path: Path, *, threads: int = 1) -> ort.InferenceSession:
    """Open a graph on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # 8-bit products are summed exactly on every processor: what is exported must not depend on this one.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def random_inputs(schema: FeatureSchema, requests: int, candidates: int, rng: np.random.Generator) -> GraphInputs:
    """Make inputs of any size, ids beyond their tables among them: the graph has to clip those."""
    largest = max([2, *(schema.table_size(table) for table in schema.tables())])

    def side_arrays(side: Side, rows: int) -> SideArrays:
        return SideArrays(
            ids=rng.integers(0, largest + 5, size=(rows, schema.id_columns(side))),
            dense=rng.normal(size=(rows, schema.dense_columns(side))).astype(np.float32),
        )

    return GraphInputs(
        request=side_arrays("request", requests),
        candidate=side_arrays("candidate", candidates),
        request_index=np.sort(rng.integers(0, requests, size=candidates)),
    )
