"""A small problem with both sides and every kind of field, for tests that compute a model's forward pass by hand."""

import numpy as np
import onnxruntime as ort
import torch

from contract.features import Categorical, FeatureSchema, Hashed, LogStandard, Numeric, Sequence, Standard
from contract.tasks import BinaryTask, DurationTask
from tests.rankers import count_parameters
from training.config import OptimConfig
from training.export import ServingModule, export_graph, input_specs, random_inputs
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.optim import Optimisers

DIM = 4
TASKS = (BinaryTask(name="click"), BinaryTask(name="like"), BinaryTask(name="share"))
HIDDEN, TOWER = (6, 5), (3,)
REQUEST_DIM = 4 * DIM + 1
CANDIDATE_DIM = 2 * DIM + 1
WIDTH = REQUEST_DIM + CANDIDATE_DIM
REQUEST_FIELDS = ("history", "scene", "user", "device", "activity")
CANDIDATE_FIELDS = ("item", "topic", "price")


def small_schema():
    """The domain field ``scene`` stands behind a sequence, so its column is not its place among the fields."""
    return FeatureSchema(
        fields=(
            Sequence(name="history", side="request", dtype="string", table="item", max_length=3),
            Categorical(name="scene", side="request", dtype="string", table="scene"),
            Hashed(name="user", side="request", dtype="string", table="user", buckets=50),
            Categorical(name="device", side="request", dtype="string", table="device"),
            Numeric(name="activity", side="request", scaling=LogStandard(mean=0, std=1)),
            Categorical(name="item", side="candidate", dtype="string", table="item"),
            Categorical(name="topic", side="candidate", dtype="string", table="topic"),
            Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
        ),
        vocabularies={
            "item": tuple(f"i{n}" for n in range(20)),
            "scene": ("home", "search"),
            "device": ("phone", "tv", "web"),
            "topic": ("a", "b", "c"),
        },
    )


def small_inputs(requests=3, candidates=12, *, schema=None, seed=0):
    return as_tensors(random_inputs(schema or small_schema(), requests, candidates, np.random.default_rng(seed)))


def make(arch, *, tasks=TASKS, schema=None, seed=0, hidden=HIDDEN, tower=TOWER, num_experts=3, dropout=0.0, **options):
    torch.manual_seed(seed)
    config = ModelConfig(
        embedding_dim=DIM, hidden=hidden, tower_hidden=tower, num_experts=num_experts, dropout=dropout, options=options
    )
    return build_model(arch, schema or small_schema(), tasks, config)


def scattered(model, *, seed=1, std=0.4):
    """Give every weight a random value: nothing is 0 or 1 because it started there."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model.eval()


def dense_count(model):
    return count_parameters(model) - count_parameters(model.features)


def assert_exports(model, schema, path):
    """Export, compare with torch at every size, and give the names of the graph's outputs."""
    tasks = tuple(model.task_specs.values())
    export_graph(ServingModule(model, tasks, [spec.name for spec in input_specs(schema)]), schema, path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [output.name for output in session.get_outputs()]


def with_duration():
    return (BinaryTask(name="click"), DurationTask(name="watch", given="click"))


def last_loss(model, loss_of_a_batch, *, steps):
    """Train as the trainer steps, and give the loss of the last batch."""
    optimisers = Optimisers(model.train(), [], OptimConfig(learning_rate=0.01))
    loss = None
    for _ in range(steps):
        loss = loss_of_a_batch()
        optimisers.zero_grad()
        loss.backward()
        optimisers.step(max_norm=10.0)
    return loss.item()
