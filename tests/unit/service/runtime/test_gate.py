from dataclasses import replace

import pytest

from contract.bundle import read_bundle
from contract.encoding import Encoder
from service.errors import ModelRejected
from service.runtime.gate import check_golden, example_body
from service.runtime.onnx import OnnxRuntime
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def bundle():
    return read_bundle(ROOT / "models_onnx" / "demo" / "1")


@pytest.fixture(scope="module")
def runtime(bundle):
    return OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=1)


@pytest.fixture
def golden(bundle):
    return bundle.golden()


def with_features(bundle, **changes):
    features = bundle.manifest.features.model_copy(update=changes)
    return Encoder(features)


def test_the_committed_bundle_gives_its_known_answers(bundle, golden, runtime):
    check_golden(bundle, golden, Encoder(bundle.manifest.features), runtime)


@pytest.mark.parametrize("head", ["ctr", "like", "duration_seconds"])
def test_a_head_that_gives_another_number_is_named(bundle, golden, runtime, head):
    wrong = replace(golden, heads={**golden.heads, head: golden.heads[head] + 0.01})

    with pytest.raises(ModelRejected, match=repr(head)):
        check_golden(bundle, wrong, Encoder(bundle.manifest.features), runtime)


@pytest.mark.parametrize("name", ["request_ids", "candidate_dense", "request_index"])
def test_an_input_that_encodes_otherwise_is_named(bundle, golden, runtime, name):
    changed = golden.inputs[name].copy()
    changed[0] += 1
    wrong = replace(golden, inputs={**golden.inputs, name: changed})

    with pytest.raises(ModelRejected, match=repr(name)):
        check_golden(bundle, wrong, Encoder(bundle.manifest.features), runtime)


def test_a_vocabulary_in_another_order_is_caught(bundle, golden, runtime):
    vocabularies = bundle.manifest.features.vocabularies
    encoder = with_features(bundle, vocabularies={**vocabularies, "category": vocabularies["category"][::-1]})

    with pytest.raises(ModelRejected, match="candidate_ids"):
        check_golden(bundle, golden, encoder, runtime)


def test_golden_rows_with_a_field_that_the_schema_lacks_are_refused(bundle, golden, runtime):
    kept = tuple(field for field in bundle.manifest.features.fields if field.name != "price")

    with pytest.raises(ModelRejected, match="do not encode"):
        check_golden(bundle, golden, with_features(bundle, fields=kept), runtime)


def test_the_example_is_a_whole_request(golden):
    body = example_body("demo", golden)

    assert body["model"] == "demo"
    assert body["request"] == golden.queries[0]["request"]
    assert body["candidates"]["item_id"]
