"""From the simulator to a published bundle, for every model of a funnel and for sample weighting: are its heads right?

The simulator's likes are given a click, so the pair has a joint head, ``ctr_like``.
"""

import numpy as np
import pytest
import torch

from contract.arrays import GraphInputs
from contract.calibration import Platt, apply_calibration
from contract.encoding import Encoder
from training.checkpoint import load_checkpoint
from training.config import OptimConfig, TrainConfig
from training.data.columns import encode_split
from training.data.simulator import prepare
from training.export import graph_session
from training.golden import encode_query
from training.impressions import score_split
from training.models.base import ModelConfig
from training.pipeline import evaluate_bundle, export_checkpoint, train_and_publish
from training.trainer import predict

FUNNELS = ("esmm", "escm2", "aitm")
UNITS = {
    "ctr": "probability",
    "like": "probability",
    "ctr_like": "probability",
    "duration_seconds": "seconds",
    "log_duration": "log_seconds",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("simulated") / "data", rows=1_000, seed=1)


@pytest.fixture(scope="module")
def publish(world, tmp_path_factory):
    """Train once an architecture, whatever is then asked of its bundle."""
    folder, bundles = tmp_path_factory.mktemp("published"), {}

    def published(arch, **options):
        key = (arch, *sorted(options.items()))
        if key not in bundles:
            config = TrainConfig(
                data="simulator",
                arch=arch,
                epochs=8,
                model=ModelConfig(embedding_dim=4, hidden=(16, 8), tower_hidden=(8,), options=options),
                optim=OptimConfig(learning_rate=1e-2, batch_requests=16),
            )
            name = f"m{len(bundles)}"
            checkpoint = folder / f"{name}.pt"
            bundle = train_and_publish(world, config, folder, name=name, checkpoint=checkpoint)
            bundles[key] = (bundle, checkpoint)
        return bundles[key]

    return published


def _heads(bundle, dataset, tmp_path):
    """Score the whole test split in ONNX Runtime."""
    split = encode_split(dataset, "test", bundle.manifest.features, tmp_path / "test")
    return score_split(bundle.model_path, bundle.manifest.heads, split), split


@pytest.mark.parametrize("arch", FUNNELS)
def test_every_rate_of_the_funnel_is_a_head_with_its_unit(arch, publish):
    bundle, _ = publish(arch)

    assert {head.name: head.unit for head in bundle.manifest.heads} == UNITS
    assert [output.name for output in graph_session(bundle.model_path).get_outputs()] == list(UNITS)


@pytest.mark.parametrize("arch", FUNNELS)
def test_the_joint_head_is_the_product_of_the_others(arch, publish, world, tmp_path):
    heads, _ = _heads(publish(arch)[0], world, tmp_path)

    np.testing.assert_allclose(heads["ctr_like"], heads["ctr"] * heads["like"], atol=1e-6)
    assert (heads["ctr_like"] <= heads["ctr"]).all()
    assert np.ptp(heads["like"]) > 0


@pytest.mark.parametrize("arch", FUNNELS)
def test_the_report_judges_the_joint_head_over_all_impressions(arch, publish, world, tmp_path):
    bundle, _ = publish(arch)
    heads, split = _heads(bundle, world, tmp_path)
    liked = np.nan_to_num(split.labels["like"])

    report = bundle.report()["heads"]

    assert report["ctr_like"]["rows"] == report["ctr"]["rows"] == split.num_rows
    assert report["like"]["rows"] == np.isfinite(split.labels["like"]).sum()
    assert report["ctr_like"]["rate"] == pytest.approx(liked.mean())
    assert report["ctr_like"]["predicted_over_observed"] == pytest.approx(
        heads["ctr_like"].mean() / liked.mean(), rel=1e-4
    )
    assert bundle.manifest.metrics["ctr_like.auc"] == pytest.approx(report["ctr_like"]["auc"])


@pytest.mark.parametrize("arch", FUNNELS)
def test_golden_rows_hold_the_joint_head(arch, publish):
    golden = publish(arch)[0].golden()

    np.testing.assert_allclose(golden.heads["ctr_like"], golden.heads["ctr"] * golden.heads["like"], atol=1e-6)


def test_the_doubly_robust_variant_is_published_too(publish):
    bundle, _ = publish("escm2", variant="dr")

    assert {head.name for head in bundle.manifest.heads} == set(UNITS)


def test_escm2_tells_what_its_propensities_are_worth_on_a_split(publish, world, tmp_path):
    trained = load_checkpoint(publish("escm2")[1])
    split = encode_split(world, "validation", trained.features, tmp_path)
    raw = {name: torch.from_numpy(logits) for name, logits in predict(trained.model, split).items()}
    labels = {name: torch.as_tensor(np.array(column)) for name, column in split.labels.items()}

    size = trained.model.effective_sample_size(raw, labels)["like"]

    assert 1.0 < size <= split.labels["ctr"].sum()


def test_sample_weighting_publishes_its_main_head_alone_and_ranks_by_it(publish):
    bundle, _ = publish("sample_weighting")

    assert [(head.name, head.unit) for head in bundle.manifest.heads] == [("ctr", "probability")]
    assert [task.name for task in bundle.manifest.tasks] == ["ctr"]
    assert bundle.manifest.fusion.formula == "ctr"
    assert list(bundle.report()["heads"]) == ["ctr"]


def test_a_weighted_score_is_published_as_a_calibrated_probability(publish, world, tmp_path):
    bundle, checkpoint = publish("sample_weighting")
    (head,) = bundle.manifest.heads
    validation = encode_split(world, "validation", bundle.manifest.features, tmp_path / "validation")
    raw = 1 / (1 + np.exp(-predict(load_checkpoint(checkpoint).model, validation)["ctr"][:, 0]))
    rate = validation.labels["ctr"].mean()

    assert isinstance(head.calibration, Platt)
    assert raw.mean() > 1.3 * rate, "weights have to make the score too high for this test to say something"
    assert apply_calibration(head.calibration, raw).mean() == pytest.approx(rate, rel=0.01)


def test_report_and_golden_rows_hold_calibrated_answers(publish, world, tmp_path):
    bundle, _ = publish("sample_weighting")
    (head,) = bundle.manifest.heads
    golden = bundle.golden()
    queries = GraphInputs.merge([encode_query(Encoder(bundle.manifest.features), query) for query in golden.queries])
    (raw,) = graph_session(bundle.model_path).run(["ctr"], queries.feeds())

    heads, split = _heads(bundle, world, tmp_path)

    np.testing.assert_allclose(golden.heads["ctr"], apply_calibration(head.calibration, raw), rtol=1e-5)
    assert not np.allclose(golden.heads["ctr"], raw, atol=0.01)
    assert bundle.report()["heads"]["ctr"]["predicted_over_observed"] == pytest.approx(
        heads["ctr"].mean() / split.labels["ctr"].mean(), rel=1e-4
    )


@pytest.mark.parametrize(("arch", "options"), [("escm2", {"variant": "dr"}), ("aitm", {}), ("sample_weighting", {})])
def test_a_checkpoint_is_exported_again_with_the_same_heads(arch, options, publish, world, tmp_path):
    bundle, checkpoint = publish(arch, **options)

    again = export_checkpoint(load_checkpoint(checkpoint), world, tmp_path, name="again")

    assert again.manifest.tasks == bundle.manifest.tasks
    assert again.manifest.heads == bundle.manifest.heads
    for name, values in bundle.golden().heads.items():
        np.testing.assert_allclose(again.golden().heads[name], values, atol=1e-6)


@pytest.mark.parametrize("arch", ["esmm", "sample_weighting"])
def test_a_published_bundle_is_evaluated_as_it_was_reported(arch, publish, world):
    bundle, _ = publish(arch)

    assert evaluate_bundle(bundle, world)["heads"]["ctr"] == bundle.report()["heads"]["ctr"]
