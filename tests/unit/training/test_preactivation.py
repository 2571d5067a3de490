import numpy as np
import onnxruntime as ort
import pytest
import torch

import training.models
from contract.features import Categorical, FeatureSchema, Sequence
from tests.small_models import TASKS, make, scattered, small_inputs, small_schema
from training.export import ServingModule, export_graph, input_specs
from training.models.registry import architectures
from training.preactivation import cut, export_halves

_ = training.models  # filled the registry
WHOLE = {"cea", "home", "info_select", "pepnet", "sluice", "star", "stem", "tensor_factorisation"}
"""Architectures that read the candidate otherwise than through first layers that add both sides."""


def serving(model, schema=None):
    names = [spec.name for spec in input_specs(schema or small_schema())]
    return ServingModule(model, tuple(model.task_specs.values()), names)


def named(inputs):
    names = ("request_ids", "request_dense", "candidate_ids", "candidate_dense", "request_index")
    return {name: getattr(inputs, name) for name in names}


@pytest.mark.parametrize("arch", sorted(set(architectures()) - WHOLE))
def test_items_computed_ahead_give_the_same_heads(arch):
    module = serving(scattered(make(arch))).eval()
    halves = cut(module, small_schema())
    given = named(small_inputs(3, 12))
    rows = torch.from_numpy(np.random.default_rng(0).permutation(12))

    with torch.no_grad():
        wanted = module(*(given[name] for name in module.inputs))
        shares = halves.prefix(*(given[spec.name] for spec in halves.prefix_inputs))
        tables = {spec.name: share[rows] for spec, share in zip(halves.spec.shares, shares, strict=True)}
        given |= tables | {"candidate_rows": torch.argsort(rows)}
        heads = halves.suffix(*(given[spec.name] for spec in halves.suffix_inputs))

    for head, want in zip(heads, wanted, strict=True):
        torch.testing.assert_close(head, want, atol=1e-5, rtol=1e-5)
    assert all(spec.shape == ("K", share.shape[1]) for spec, share in zip(halves.spec.shares, shares, strict=True))


@pytest.mark.parametrize("arch", sorted(WHOLE))
def test_a_network_that_reads_candidates_in_another_way_is_not_cut(arch):
    assert cut(serving(make(arch)), small_schema()) is None


def test_a_history_that_is_read_by_attention_to_the_candidate_keeps_the_network_whole():
    schema = FeatureSchema(
        fields=(
            Sequence(
                name="history",
                side="request",
                dtype="string",
                table="item",
                max_length=3,
                pooling="attention",
                target="item",
            ),
            Categorical(name="item", side="candidate", dtype="string", table="item"),
        ),
        vocabularies={"item": ("a", "b")},
    )

    assert cut(serving(make("mmoe", schema=schema), schema), schema) is None


def test_a_network_without_candidate_fields_has_nothing_to_compute_ahead():
    schema = FeatureSchema(
        fields=(Categorical(name="user", side="request", dtype="string", table="user"),),
        vocabularies={"user": ("a", "b")},
    )

    assert cut(serving(make("mmoe", schema=schema), schema), schema) is None


@pytest.mark.parametrize("arch", ["ple", "single_task"])
def test_both_graphs_are_written_and_agree_with_the_whole_one(arch, tmp_path):
    module = serving(scattered(make(arch, tasks=TASKS)))
    export_graph(module, small_schema(), tmp_path / "model.onnx")

    spec = export_halves(module, small_schema(), tmp_path)  # raises ParityError above 1e-5

    prefix, suffix = (ort.InferenceSession(str(tmp_path / name)) for name in (spec.prefix, spec.suffix))
    assert [each.name for each in prefix.get_outputs()] == [share.name for share in spec.shares]
    assert {each.name for each in suffix.get_inputs()} >= {"candidate_rows", "request_index"}
    assert spec.width == sum(share.shape[1] for share in spec.shares)
