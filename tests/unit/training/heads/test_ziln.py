"""Zero-inflated lognormal: likelihood, mean and mean logarithm by hand."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from contract.durations import Ziln
from tests.durations import FAMILIES, fitted_head
from training.heads.ziln import MIN_SIGMA, ZilnHead


def _parameters(head, raw):
    return [part.numpy().astype(np.float64) for part in head.parameters(raw)]


def test_the_loss_is_the_papers_likelihood_up_to_a_constant_of_each_row():
    head = fitted_head(Ziln(), FAMILIES["zero-inflated lognormal"][1])
    raw, other = torch.randn(6, 3), torch.randn(6, 3)
    seconds = torch.tensor([0.0, 0.0, 3.0, 20.0, 0.5, 400.0])

    def paper(raw):
        logit, mu, sigma = _parameters(head, raw)
        p, y = 1 / (1 + np.exp(-logit)), seconds.numpy()
        density = stats.lognorm.logpdf(np.where(y > 0, y, 1.0), sigma, scale=np.exp(mu))
        return -np.where(y > 0, np.log(p) + density, np.log(1 - p))

    got = head.row_loss(raw, seconds, None) - head.row_loss(other, seconds, None)

    np.testing.assert_allclose(got, paper(raw) - paper(other), rtol=1e-4, atol=1e-4)


def test_the_mean_is_that_of_the_distribution():
    head = fitted_head(Ziln(), FAMILIES["zero-inflated lognormal"][1])
    raw = torch.tensor([[0.5, -0.2, 0.3], [-2.0, 1.0, -1.0]])
    logit, mu, sigma = _parameters(head, raw)

    wanted = stats.lognorm.mean(sigma, scale=np.exp(mu)) / (1 + np.exp(-logit))

    np.testing.assert_allclose(head.seconds(raw, None), wanted, rtol=1e-5)


@pytest.mark.parametrize("mu", [-2.0, 0.0, 3.0])
@pytest.mark.parametrize("sigma_raw", [-3.0, 0.0, 3.0])
def test_nine_nodes_give_the_mean_of_log1p_of_the_distribution(mu, sigma_raw):
    head = fitted_head(Ziln(), FAMILIES["lognormal"][1])
    raw = torch.tensor([[30.0, mu - head.objective.mean, sigma_raw]])  # certainly more than nothing
    sigma = _parameters(head, raw)[2][0]

    wanted, _ = integrate.quad(lambda e: np.logaddexp(0, mu + sigma * e) * stats.norm.pdf(e), -9, 9)

    assert head.log_seconds(raw, None).item() == pytest.approx(wanted, abs=0.01 if sigma > 2 else 1e-4)


def test_sigma_stays_between_its_bounds_and_starts_at_the_training_rows():
    head = fitted_head(Ziln(max_sigma=2.0), FAMILIES["lognormal"][1])
    raw = torch.tensor([[0.0, 0.0, -1e3], [0.0, 0.0, 0.0], [0.0, 0.0, 1e3]])

    low, start, high = _parameters(head, raw)[2]

    assert (low, high) == (pytest.approx(MIN_SIGMA), pytest.approx(2.0))
    assert start == pytest.approx(np.log(FAMILIES["lognormal"][1]).std(), rel=1e-4)


def test_rows_without_time_teach_the_lognormal_nothing():
    head = fitted_head(Ziln(), FAMILIES["zero-inflated lognormal"][1])
    raw = torch.randn(4, ZilnHead.width, requires_grad=True)

    head.row_loss(raw, torch.tensor([0.0, 0.0, 5.0, 9.0]), None).sum().backward()

    assert torch.count_nonzero(raw.grad[:2, 1:]) == 0
    assert torch.count_nonzero(raw.grad[2:]) == 6
