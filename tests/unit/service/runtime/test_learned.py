import numpy as np
import pytest

from contract.errors import FormulaError, ScoreError
from contract.fusion import LearnedProfile
from contract.fusion_bundle import FusionFeature
from service.runtime.learned import FusionShelf
from tests.factories import tiny_manifest
from tests.learned import FEATURES, publish

VALUES = {"ctr": np.array([0.1, 0.2, 0.3], np.float32), "price": np.array([1.0, np.nan, 0.0])}


@pytest.fixture
def shelf(tmp_path):
    publish(tmp_path)
    return FusionShelf(tmp_path)


def profile(version=1, *, model="tiny", **more):
    return LearnedProfile(model=model, version=version, **more)


def load(shelf, asked):
    manifest = tiny_manifest()
    return shelf.load(asked, name=manifest.name, variables=manifest.formula_variables())


def test_a_learned_fusion_scores_each_candidate_by_its_heads_and_fields(shelf):
    fusion = load(shelf, profile())

    scores, non_finite = fusion.score(VALUES, 3)

    assert fusion.reads == {"ctr", "price"}
    assert scores == pytest.approx([2.1, -np.inf, 0.3])
    assert non_finite == 1


def test_a_number_of_the_request_counts_for_all_its_candidates(shelf):
    scores, _ = load(shelf, profile()).score({"ctr": VALUES["ctr"], "price": 1.0}, 3)

    assert scores == pytest.approx([2.1, 2.2, 2.3])


def test_a_profile_that_says_fail_refuses_a_score_that_is_not_finite(shelf):
    with pytest.raises(ScoreError, match="candidate 1"):
        load(shelf, profile(non_finite="fail")).score(VALUES, 3)


def test_a_learned_fusion_has_no_weights_to_turn(shelf):
    fusion = load(shelf, profile())

    fusion.check_weights({})
    with pytest.raises(FormulaError, match="no weight 'w'"):
        fusion.check_weights({"w": 1.0})


@pytest.mark.parametrize(
    ("asked", "says"), [(profile(2), "version 2"), (profile(model="other"), "'other'"), (profile(9), "versions of")]
)
def test_a_version_that_is_not_there_is_refused_with_those_that_are(shelf, asked, says):
    with pytest.raises(FormulaError) as refused:
        load(shelf, asked)

    assert says in f"{refused.value.detail} {refused.value.fix}"


@pytest.mark.parametrize(
    "features",
    [
        (FEATURES[0], FusionFeature(name="nothing", source="field")),
        (FusionFeature(name="nothing", source="head"), FEATURES[1]),
        (FusionFeature(name="price", source="head"), FusionFeature(name="ctr", source="field")),
    ],
)
def test_a_fusion_that_reads_what_the_model_lacks_is_refused(tmp_path, features):
    publish(tmp_path, features=features)

    with pytest.raises(FormulaError, match="does not have"):
        load(FusionShelf(tmp_path), profile())


def test_a_fusion_that_differs_from_its_golden_rows_is_refused(tmp_path):
    publish(tmp_path, golden_gain=1.01)

    with pytest.raises(FormulaError, match="golden rows"):
        load(FusionShelf(tmp_path), profile())


@pytest.mark.parametrize("file", ["fusion.onnx", "golden.npz", "manifest.json"])
def test_a_fusion_whose_files_were_damaged_is_refused_and_named(tmp_path, file):
    bundle = publish(tmp_path)
    (bundle.path / file).write_bytes(b"damaged")

    with pytest.raises(FormulaError) as refused:
        load(FusionShelf(tmp_path), profile())

    assert str(bundle.path) in refused.value.detail


def test_a_version_that_failed_is_tried_again_once_it_is_mended(tmp_path):
    shelf = FusionShelf(tmp_path)
    with pytest.raises(FormulaError):
        load(shelf, profile())
    publish(tmp_path)

    assert load(shelf, profile()).reads == {"ctr", "price"}
