"""From a log to a published fusion, fitted on the earlier requests and judged on the later ones."""

import numpy as np
import pytest

from contract.fusion import FusionProfile
from contract.fusion_bundle import FusionFeature, Utility, fusion_versions
from contract.weights import Weight
from tests.unit.training.fusing.logs import some_log
from training.errors import InvalidOption, LabelLeak, LogError
from training.fusing.fit import FitConfig, FitReport, fit_and_publish
from training.fusing.graphs import graph_scores

UTILITY = Utility(formula="click + 0.01 * duration")
CURRENT = FusionProfile(formula="w * price + 0 * ctr", weights={"w": Weight(value=1.0, min=0, max=2)})


def _config(**changes):
    return FitConfig(**{"name": "feed", "utility": UTILITY, "command": "fulcrum fuse fit", **changes})


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    earlier, later = some_log(1_200), some_log(600, seed=5, first=1_200)
    found = CURRENT.model_copy(update={"formula": "w * ctr"})
    return fit_and_publish(earlier, later, _config(), tmp_path_factory.mktemp("fusions"), current=CURRENT, found=found)


@pytest.fixture(scope="module")
def report(published):
    return FitReport.model_validate(published.report())


def test_a_bundle_says_what_it_reads_what_for_and_where_it_comes_from(published):
    manifest = published.manifest

    assert manifest.features == tuple(FusionFeature(name=name, source="head") for name in ("ctr", "duration_seconds"))
    assert manifest.utility == UTILITY
    assert manifest.provenance.data_fingerprint == some_log(1).fingerprint
    assert manifest.provenance.config["command"] == "fulcrum fuse fit"
    assert {"lightgbm", "torch", "onnxruntime"} <= manifest.provenance.libraries.keys()
    assert manifest.files.keys() == {"fusion.onnx", "golden.npz", "report.json"}


def test_golden_rows_are_answered_by_the_published_graph_and_the_last_is_missing_throughout(published):
    golden = published.golden()

    np.testing.assert_array_equal(graph_scores(published.model_path, golden.features), golden.scores)
    assert np.isnan(golden.features[-1]).all()
    assert np.isfinite(golden.features[:-1]).all()
    assert np.isfinite(golden.scores).all()


def test_both_ways_to_learn_are_judged_beside_every_formula_on_later_requests_alone(report):
    comparison = report.comparison

    assert [each.name for each in comparison.contenders] == [
        "best head, ctr", "default", "current profile", "search", "lambdarank", "listnet",
    ]  # fmt: skip
    assert (comparison.reference, comparison.requests) == ("current profile", 600)
    assert comparison.first_time > "2026-03-02"
    assert report.fitted_requests == 1_200
    assert 0 < comparison.judged_requests < 600


def test_what_learned_from_true_heads_beats_a_profile_that_ignores_them_and_its_interval_says_so(report):
    judged = {each.name: each for each in report.comparison.contenders}

    for method in ("lambdarank", "listnet"):
        assert judged[method].difference.low > 0.05
        assert judged[method].value.low <= judged[method].value.value <= judged[method].value.high
        assert report.parity[method] < 1e-5
    assert (judged["current profile"].difference.low, judged["current profile"].difference.high) == (0, 0)


def test_what_is_published_is_chosen_before_the_later_requests_are_looked_at(report, published):
    assert report.published == max(report.stopped_on, key=report.stopped_on.get) == published.manifest.method


def test_the_caller_may_choose_the_method_and_more_inputs(tmp_path):
    earlier, later = some_log(300), some_log(100, seed=5, first=300)

    bundle = fit_and_publish(earlier, later, _config(method="lambdarank", fields=("price",)), tmp_path)

    assert bundle.manifest.method == "lambdarank"
    assert [(each.name, each.source) for each in bundle.manifest.features][-1] == ("price", "field")
    assert FitReport.model_validate(bundle.report()).comparison.reference == "default"


def test_outcomes_and_what_gives_them_away_are_refused_and_nothing_is_published(tmp_path):
    earlier, later = some_log(300), some_log(100, seed=5, first=300)
    with pytest.raises(LabelLeak):
        fit_and_publish(earlier, later, _config(heads=("click",)), tmp_path)
    earlier.columns["price"] = np.where(earlier.columns["click"] == 1, 0.5, np.nan)
    with pytest.raises(LabelLeak, match="'price' alone"):
        fit_and_publish(earlier, later, _config(fields=("price",)), tmp_path)

    assert fusion_versions(tmp_path, "feed") == []


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x"])
def test_a_name_that_is_no_folder_is_refused(tmp_path, name):
    with pytest.raises(InvalidOption, match="cannot be named"):
        fit_and_publish(some_log(20), some_log(10, seed=5, first=20), _config(name=name), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_log_may_not_be_judged_on_what_it_was_fitted_on(tmp_path):
    log = some_log(100)

    with pytest.raises(LogError, match="in both logs"):
        fit_and_publish(log, log, _config(), tmp_path)
