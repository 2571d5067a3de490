"""Weighted logistic regression: odds that are the expected seconds at any share of positives."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from contract.durations import Wlr
from tests.durations import fitted_head


def _zero_inflated_gamma(share, rows=10_000):
    positives = round(rows * share)
    long = stats.gamma.ppf((np.arange(positives) + 0.5) / positives, 2.0, scale=15.0)
    return np.r_[np.zeros(rows - positives), long]


def _minimised(loss_of):
    z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([z], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = loss_of(z)
        loss.backward()
        return loss

    optimiser.step(closure)
    return z.detach()


def test_every_row_is_a_positive_of_its_seconds_and_a_negative_of_one():
    head = fitted_head(Wlr(), [2.0, 6.0])  # mean 4
    got = head.row_loss(torch.tensor([[0.3], [-1.0]]), torch.tensor([0.0, 8.0]), None)

    def log(p):
        return -np.log(p)

    p = 1 / (1 + np.exp([-0.3, 1.0]))
    np.testing.assert_allclose(got, [log(1 - p[0]), 2.0 * log(p[1]) + log(1 - p[1])], rtol=1e-6)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_odds_of_the_paper_are_too_long_where_clicks_are_not_rare_and_ours_are_not(share):
    """Published at a share of .2: +.2483 (TranSUN, NeurIPS 2025); p / (1 - p) is .25."""
    seconds = _zero_inflated_gamma(share)
    y, truth = torch.tensor(seconds), seconds.mean()
    clicked = (y > 0).double()

    z = _minimised(lambda z: (clicked * y * F.softplus(-z) + (1 - clicked) * F.softplus(z)).mean())
    head = fitted_head(Wlr(), seconds)
    ours = _minimised(lambda z: head.row_loss(z.expand(len(y), 1), y, None).mean())

    assert np.exp(z.item()) / truth - 1 == pytest.approx(share / (1 - share), rel=1e-3)
    assert head.seconds(ours[None], None).item() == pytest.approx(truth, rel=1e-5)
    if share == 0.2:
        assert np.exp(z.item()) / truth - 1 == pytest.approx(0.2483, abs=0.005)
