"""Every architecture: formulas by hand, the factored layer, clipping, export."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from contract.durations import Smearing
from contract.features import Categorical, FeatureSchema, LogStandard, Numeric, Piecewise, Quantile, Sequence, Standard
from contract.tasks import BinaryTask, DurationTask
from tests.every_kind import every_kind_schema
from training.errors import UnknownArchitecture
from training.export import ServingModule, export_graph, input_specs, random_inputs
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.layers import FactoredLinear, FeatureEmbedding
from training.models.registry import architectures, build_model, register

TASKS = (BinaryTask(name="ctr"), DurationTask(name="duration", given="ctr"))
ONE_HEAD = ("sample_weighting",)
CONFIG = ModelConfig(embedding_dim=4, hidden=(6, 5), tower_hidden=(3,), num_experts=3, dropout=0.0)


def _schema():
    return FeatureSchema(
        fields=(
            Categorical(name="device", side="request", dtype="string", table="device"),
            Sequence(name="history", side="request", dtype="string", table="item", max_length=3),
            Numeric(name="activity", side="request", scaling=LogStandard(mean=0, std=1)),
            Categorical(name="item", side="candidate", dtype="string", table="item"),
            Numeric(name="length", side="candidate", scaling=Piecewise(points=(0.0, 1.0, 5.0))),
            Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
            Numeric(name="age", side="candidate", scaling=Quantile(points=(0.0, 1.0, 5.0))),
        ),
        vocabularies={"device": ("phone", "tv"), "item": ("a", "b", "c")},
    )


def _candidates_only():
    return FeatureSchema(
        fields=(Categorical(name="item", side="candidate", dtype="int", table="item"),), vocabularies={"item": (1, 2)}
    )


def test_the_factored_layer_equals_one_layer_over_the_joined_sides():
    layer = FactoredLinear(3, 2, 4)
    u, c, index = torch.randn(2, 3), torch.randn(5, 2), torch.tensor([0, 0, 1, 1, 1])
    joined = torch.cat([u[index], c], dim=1)
    weight = torch.cat([layer.request.weight, layer.candidate.weight], dim=1)

    plain = joined @ weight.T + layer.request.bias

    torch.testing.assert_close(layer(u, c, index), plain, atol=1e-6, rtol=0)


def test_sequences_are_the_mean_of_their_given_values_and_empty_ones_are_zero():
    embedding = FeatureEmbedding(_schema(), dim=4)
    inputs = as_tensors(random_inputs(_schema(), 2, 3, np.random.default_rng(0)))
    inputs.request_ids[:] = torch.tensor([[2, 3, 4, 0], [2, 0, 0, 0]])

    u, _ = embedding(inputs)

    start = _schema().table_size("device")
    expected = (embedding.weight.weight[start + 3] + embedding.weight.weight[start + 4]) / 2
    torch.testing.assert_close(u[0, 4:8], expected)
    assert torch.count_nonzero(u[1, 4:8]) == 0


def test_mmoe_mixes_experts_by_the_softmax_of_a_linear_gate():
    torch.manual_seed(0)
    model = build_model("mmoe", _candidates_only(), [BinaryTask(name="a"), BinaryTask(name="b")], ModelConfig(
        embedding_dim=2, hidden=(3,), tower_hidden=(), num_experts=2, dropout=0.0))  # fmt: skip
    for parameter in model.gate.parameters():
        torch.nn.init.normal_(parameter)
    model.eval()
    inputs = as_tensors(random_inputs(_candidates_only(), 1, 4, np.random.default_rng(0)))
    c = model.features(inputs)[1]

    got = model(inputs)["b"]

    first = model.experts.first.candidate
    hidden = torch.relu(c @ first.weight.T + first.bias).reshape(4, 2, 3)
    gate = torch.softmax((c @ model.gate.candidate.weight.T + model.gate.candidate.bias)[:, 2:], dim=1)
    mixed = (hidden * gate[:, :, None]).sum(dim=1)
    torch.testing.assert_close(got, model.towers["b"][1](mixed))


def test_gates_start_as_the_plain_mean_of_the_experts():
    model = build_model("mmoe", _schema(), TASKS, CONFIG)
    inputs = as_tensors(random_inputs(_schema(), 2, 5, np.random.default_rng(0)))

    weights = model.gate_weights(*model.features(inputs), inputs.request_index)

    torch.testing.assert_close(weights, torch.full((5, 2, 3), 1 / 3))


def test_experts_do_not_start_alike():
    model = build_model("mmoe", _schema(), TASKS, CONFIG)
    first = model.experts.first.candidate.weight.reshape(3, 6, -1)

    assert not torch.allclose(first[0], first[1])


def test_single_tasks_share_no_parameter_and_no_gradient():
    model = build_model("single_task", _schema(), TASKS, CONFIG)
    inputs = as_tensors(random_inputs(_schema(), 2, 5, np.random.default_rng(0)))

    model(inputs)["ctr"].sum().backward()

    assert all(p.grad is None for p in model.networks["duration"].parameters())
    assert any(p.grad is not None for p in model.networks["ctr"].parameters())


@pytest.mark.parametrize(
    "schema",
    [_schema(), _candidates_only(), every_kind_schema()],
    ids=["both sides", "candidates only", "every kind of feature"],
)
@pytest.mark.parametrize("arch", list(architectures()))
def test_every_architecture_exports_and_onnx_runtime_agrees_with_torch(arch, schema, tmp_path):
    torch.manual_seed(1)
    model = build_model(arch, schema, TASKS, CONFIG)
    debiased = {"duration": DurationTask(name="duration", given="ctr", debias=Smearing(factor=1.3))}
    tasks = tuple(debiased.get(name, task) for name, task in model.task_specs.items())
    module = ServingModule(model, tasks, [spec.name for spec in input_specs(schema)])

    export_graph(module, schema, tmp_path / "model.onnx")  # raises ParityError above 1e-5

    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    served = ["ctr"] if arch in ONE_HEAD else ["ctr", "duration_seconds", "log_duration"]
    assert [output.name for output in session.get_outputs()] == served


@pytest.mark.parametrize("arch", list(architectures()))
def test_a_request_scores_the_same_alone_and_beside_others(arch):
    model = build_model(arch, _schema(), TASKS, CONFIG).eval()
    both = random_inputs(_schema(), 2, 8, np.random.default_rng(3))
    second = np.flatnonzero(both.request_index == 1)
    alone = type(both)(
        request=both.request.take(slice(1, 2)),
        candidate=both.candidate.take(second),
        request_index=np.zeros(len(second), np.int64),
    )

    with torch.no_grad():
        together, single = model(as_tensors(both))["ctr"].numpy(), model(as_tensors(alone))["ctr"].numpy()

    np.testing.assert_allclose(together[second], single, atol=1e-6)


def test_an_unknown_architecture_names_the_known_ones():
    with pytest.raises(UnknownArchitecture, match="mmoe"):
        build_model("moe", _schema(), TASKS, CONFIG)


def test_a_name_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="twice"):
        register("mmoe", title="again", link="")(type(build_model("mmoe", _schema(), TASKS, CONFIG)))
