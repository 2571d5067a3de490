"""Every objective with every debiasing, and every other head, in ONNX Runtime at every checked size."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from contract.durations import Cread, D2q, LogHuber, LogMse, Transun, Wlr, Ziln
from contract.features import Categorical, FeatureSchema, LogStandard, Numeric, Piecewise, Standard
from contract.tasks import BinaryTask, CountTask, DurationTask, RegressionTask, heads_of
from training.debias import fit_debias
from training.export import ServingModule, export_graph, input_specs
from training.heads.base import LabelSample
from training.heads.registry import fit_task, head_kinds, head_of
from training.inputs import TensorInputs
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.objectives import DEBIASINGS

CONFIG = ModelConfig(embedding_dim=4, hidden=(8,), tower_hidden=(), dropout=0.0)
ITEM = Categorical(name="item", side="candidate", dtype="int", table="item")
WITH_NUMBERS = FeatureSchema(
    fields=(
        Numeric(name="hour", side="request", scaling=Standard(mean=0, std=1)),
        ITEM,
        Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
        Numeric(name="length", side="candidate", scaling=LogStandard(mean=0, std=1)),
    ),
    vocabularies={"item": (1, 2)},
)
LENGTH_IN_BINS = Numeric(name="length", side="candidate", scaling=Piecewise(points=(0.0, 1.0, 2.0, 5.0)))
WITH_BINS = WITH_NUMBERS.model_copy(update={"fields": (*WITH_NUMBERS.fields[:-1], LENGTH_IN_BINS)})
WITHOUT_NUMBERS = FeatureSchema(fields=(ITEM,), vocabularies={"item": (1, 2)})
OBJECTIVES = {
    "log_mse": LogMse(),
    "log_huber": LogHuber(),
    "ziln": Ziln(),
    "wlr": Wlr(),
    "d2q": D2q(),
    "d2q_by_length": D2q(by="length", groups=4),
    "cread": Cread(),
    "transun": Transun(),
}


def _tasks(schema):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(500, schema.dense_columns("candidate"))).astype(np.float32)
    labels = np.where(rng.random(500) < 0.3, 0.0, np.exp(rng.normal(3.0, 1.0, size=500))).astype(np.float32)
    sample = LabelSample(labels=labels, candidate_dense=numbers, schema=schema)
    for name, objective in OBJECTIVES.items():
        if getattr(objective, "by", None) and not numbers.shape[1]:
            continue
        task = fit_task(DurationTask(name=name, objective=objective), sample)
        head = head_of(task)
        nothing = torch.zeros(500, 1)
        inputs = TensorInputs(
            request_ids=nothing, request_dense=nothing, candidate_ids=nothing, request_index=nothing,
            candidate_dense=torch.from_numpy(numbers),
        )  # fmt: skip
        naive = head.seconds(torch.randn(500, head.raw_width), inputs).numpy()
        for debias in DEBIASINGS:
            yield task.model_copy(update={"name": f"{name}_{debias}", "debias": fit_debias(debias, labels, naive)})
    yield fit_task(BinaryTask(name="ctr"), sample)
    yield fit_task(CountTask(name="plays"), sample)
    yield fit_task(RegressionTask(name="rating"), sample)


@pytest.mark.parametrize("schema", [WITH_NUMBERS, WITH_BINS, WITHOUT_NUMBERS], ids=["numbers", "bins", "no numbers"])
def test_every_objective_with_every_debiasing_exports_and_onnx_runtime_agrees_with_torch(schema, tmp_path):
    torch.manual_seed(0)
    tasks = list(_tasks(schema))
    model = build_model("shared_bottom", schema, tasks, CONFIG)
    module = ServingModule(model, tasks, [spec.name for spec in input_specs(schema)])

    export_graph(module, schema, tmp_path / "model.onnx")  # raises ParityError above 1e-5

    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    wanted = [head.output for task in tasks for head in heads_of(task)]
    assert [output.name for output in session.get_outputs()] == wanted


def test_no_kind_of_head_is_left_out_here():
    kinds = {objective.kind for objective in OBJECTIVES.values()} | {"binary", "count", "regression"}

    assert kinds == set(head_kinds())
