"""ListNet: the paper's loss and gradient, and a graph that scores as torch does."""

import numpy as np
import pytest
import torch

from contract.fusion_bundle import FusionFeature, Utility
from tests.unit.training.fusing.logs import some_log
from training.errors import UtilityError
from training.fusing.contenders import mean_of
from training.fusing.features import RankingRows, ranking_rows
from training.fusing.graphs import check_scores, export_listnet, graph_scores, parity_rows
from training.fusing.judging import Yardstick
from training.fusing.listnet import ListNet, fit_listnet, listnet_loss
from training.fusing.methods import learn
from training.fusing.splitting import time_split
from training.fusing.utility import gain

UTILITY = Utility(formula="click + 0.01 * duration")
NDCG = Yardstick()
FEATURES = tuple(FusionFeature(name=name, source="head") for name in ("ctr", "duration_seconds"))


def _loss(scores, gains, lists, weights=None):
    weights = torch.ones(max(lists) + 1, dtype=torch.float64) if weights is None else torch.tensor(weights)
    scores = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    loss = listnet_loss(scores, torch.tensor(gains, dtype=torch.float64), torch.tensor(lists), weights)
    loss.backward()
    return loss.item(), scores.grad.tolist()


def test_the_loss_of_two_candidates_is_the_cross_entropy_by_hand():
    loss, _ = _loss([0.0, np.log(3.0)], [1.0, 3.0], [0, 0])

    assert loss == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))


def test_the_gradient_is_the_scores_distribution_minus_the_gains():
    scores, gains = np.array([0.3, -1.2, 2.0]), np.array([2.0, 0.0, 6.0])

    _, gradient = _loss(scores.tolist(), gains.tolist(), [0, 0, 0])

    softmax = np.exp(scores) / np.exp(scores).sum()
    assert gradient == pytest.approx((softmax - gains / gains.sum()).tolist())


def test_requests_count_alike_however_long_and_those_without_gain_not_at_all():
    alone, own = _loss([0.3, -1.2], [2.0, 0.0], [0, 0])
    loss, gradient = _loss([0.3, -1.2, 5.0, 1.0, 1.0, 9.0], [2.0, 0.0, 0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1, 2, 2])
    third, _ = _loss([1.0, 9.0], [1.0, 1.0], [0, 0])

    assert loss == pytest.approx((alone + third) / 2)
    assert gradient[:2] == pytest.approx([each / 2 for each in own])
    assert gradient[2:4] == [0.0, 0.0]


def test_a_request_of_weight_three_counts_as_three_requests():
    heavy, _ = _loss([0.3, -1.2, 1.0, 9.0], [2.0, 0.0, 1.0, 1.0], [0, 0, 1, 1], [3.0, 1.0])
    lists = [0, 0, 1, 1, 2, 2, 3, 3]
    repeated, _ = _loss([0.3, -1.2] * 3 + [1.0, 9.0], [2.0, 0.0] * 3 + [1.0, 1.0], lists)

    assert heavy == pytest.approx(repeated)


def test_neither_the_unit_of_the_utility_nor_a_common_shift_of_scores_changes_the_loss():
    loss, gradient = _loss([0.3, -1.2, 800.0], [2.0, 1.0, 6.0], [0, 0, 0])

    assert np.isfinite(loss)
    assert _loss([-999.7, -1001.2, -200.0], [120.0, 60.0, 360.0], [0, 0, 0])[0] == pytest.approx(loss)
    assert sum(gradient) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("holes", [0.0, 0.2], ids=["fitted without missing values", "fitted with missing values"])
def test_the_graph_scores_as_torch_does_missing_and_far_values_included(tmp_path, holes):
    rng = np.random.default_rng(0)
    x = (rng.lognormal(size=(500, 3)) * [0.01, 1.0, 1e4]).astype(np.float32)
    x[rng.random(x.shape) < holes] = np.nan
    torch.manual_seed(0)
    model = ListNet(x).eval()
    export_listnet(model, tmp_path / "net.onnx")

    with torch.no_grad():
        worst = check_scores(tmp_path / "net.onnx", lambda rows: model(torch.from_numpy(rows)).numpy(), parity_rows(x))

    assert worst < 1e-5
    odd = np.array([[np.inf, -np.inf, np.nan]], dtype=np.float32)
    assert np.isfinite(graph_scores(tmp_path / "net.onnx", odd)).all()


def test_a_missing_value_counts_as_the_mean_where_none_was_missing_before():
    x = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    model = ListNet(x).eval()
    mean = torch.sinh(model.mean) * model.typical

    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([[float("nan"), 0.5]])), model(torch.tensor([[mean[0], 0.5]])))


def test_a_column_without_any_value_does_not_break_the_scaling():
    x = np.stack([np.arange(9.0), np.full(9, np.nan)], axis=1).astype(np.float32)

    with torch.no_grad():
        assert torch.isfinite(ListNet(x)(torch.from_numpy(x))).all()


def test_it_learns_what_the_utility_asks_for(tmp_path):
    fit, stop = (gain(UTILITY, log) for log in time_split(some_log(3_000), 0.8))
    judged = gain(UTILITY, some_log(1_500, seed=9, first=3_000))
    graph = learn("listnet", fit, stop, FEATURES, tmp_path, yardstick=NDCG, seed=0)

    truth = judged.log.columns["ctr"] * (1 + 0.01 * judged.log.columns["duration_seconds"])
    chance = np.random.default_rng(0).random(judged.log.num_rows)
    worst, best = mean_of(chance, judged, NDCG), mean_of(truth, judged, NDCG)
    assert 0.95 < (mean_of(graph.scores(judged.log), judged, NDCG) - worst) / (best - worst) < 1.1
    assert graph.parity < 1e-5


def test_the_same_seed_gives_the_same_network():
    rows = ranking_rows(gain(UTILITY, some_log(200)), FEATURES, NDCG)

    one, other = (fit_listnet(rows, rows, seed=4).state_dict() for _ in range(2))

    assert all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_to_learn_from_is_refused():
    nothing = RankingRows(
        features=np.zeros((3, 1), np.float32), gains=np.zeros(3), offsets=np.array([0, 3]), weights=np.ones(1)
    )

    with pytest.raises(UtilityError, match="has a gain"):
        fit_listnet(nothing, nothing, seed=0)
