"""CREAD: thresholds, losses and what the chances sum to."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from contract.durations import Cread
from tests.durations import FAMILIES, fitted_head
from training.heads.cread import adaptive_thresholds

SECONDS = np.concatenate(FAMILIES["lognormal"])


def test_the_loss_by_hand():
    head = fitted_head(Cread(bins=4, restore_weight=0.7, order_weight=0.3, delta=0.2), SECONDS)
    o, raw, y = head.objective, torch.tensor([[0.1, 0.4, -0.3, 2.0]]), 25.0
    rates = np.array(o.rates)
    chances = 1 / (1 + np.exp(-(raw[0].numpy() + np.log(rates / (1 - rates)))))
    longer = (y > np.array(o.thresholds)).astype(float)
    error = abs(chances @ np.array(o.widths) - y) / o.std

    classified = -(longer * np.log(chances) + (1 - longer) * np.log(1 - chances)).mean()
    restored = error**2 / 2 if error <= 0.2 else 0.2 * (error - 0.1)
    rising = np.maximum(np.diff(chances), 0).sum()

    got = head.row_loss(raw, torch.tensor([y]), None).item()
    assert got == pytest.approx(classified + 0.7 * restored + 0.3 * rising, rel=1e-4)
    assert rising > 0, "the example has to break the order for this test to see the penalty"


@pytest.mark.parametrize("family", list(FAMILIES))
def test_true_chances_sum_to_the_mean_and_to_the_mean_logarithm(family):
    """The paper's own sum, at the upper edges of the bins, is too short by a tenth and more."""
    seconds = np.concatenate(FAMILIES[family]).astype(np.float32).astype(np.float64)  # as labels are kept
    o = fitted_head(Cread(), seconds).objective
    t = np.array(o.thresholds)
    chances = np.array([(seconds > each).mean() for each in t])
    upper = np.r_[t[1:], seconds.max()]

    paper = sum((seconds > high).mean() * (high - low) for low, high in zip(t, upper, strict=True))

    assert chances @ np.array(o.widths) == pytest.approx(seconds.mean(), rel=1e-5)
    assert chances @ np.array(o.log_widths) == pytest.approx(np.log1p(seconds).mean(), rel=1e-5)
    assert paper < 0.92 * seconds.mean()


def test_widths_tend_to_the_papers_where_bins_are_narrow():
    seconds = stats.uniform.ppf((np.arange(20_000) + 0.5) / 20_000, 0, 100)
    o = fitted_head(Cread(bins=500), seconds).objective
    paper = np.diff(np.array(o.thresholds))

    # A row longer than a threshold covers nearly the whole of a narrow bin, save near the end of all rows.
    np.testing.assert_allclose(np.array(o.widths)[:200], paper[:200], rtol=0.01)


def test_thresholds_rise_from_nothing_and_equal_ones_are_one():
    for seconds in (*FAMILIES["discrete"], SECONDS, np.zeros(10)):
        t = adaptive_thresholds(seconds, 20)

        assert t[0] == 0.0
        assert (np.diff(t) > 0).all()
        assert t[-1] < max(seconds.max(), 1.0)
        assert len(t) <= 20


def test_long_durations_get_wider_bins_than_equal_shares_would_give():
    """Between equal shares and equal widths; a bounded, skewed duration shows it."""
    seconds = stats.expon.ppf((np.arange(20_000) + 0.5) / 20_000 * 0.95, scale=30.0)
    t = adaptive_thresholds(seconds, 20)
    equal_shares = np.quantile(seconds, np.arange(20) / 20)

    # Fewer thresholds lie among the short half than half of them.
    assert (t < np.median(seconds)).sum() < (equal_shares < np.median(seconds)).sum()


def test_the_penalty_falls_on_chances_that_rise_and_on_no_others():
    head = fitted_head(Cread(bins=3, restore_weight=0.0), SECONDS)
    plain = fitted_head(Cread(bins=3, restore_weight=0.0, order_weight=0.0), SECONDS)
    y = torch.tensor([1e9])
    falling, rising = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[-3.0, 0.0, 3.0]])

    assert head.row_loss(falling, y, None) == plain.row_loss(falling, y, None)
    assert head.row_loss(rising, y, None) > plain.row_loss(rising, y, None)


def test_labels_are_strictly_longer_than_their_threshold():
    head = fitted_head(Cread(bins=3, restore_weight=0.0, order_weight=0.0), FAMILIES["discrete"][1])
    raw, zero = torch.zeros(1, head.raw_width), torch.zeros(1)
    logits = torch.logit(torch.tensor([head.objective.rates]))

    got = head.row_loss(raw, zero, None)

    torch.testing.assert_close(got, F.softplus(logits).mean(dim=1))
