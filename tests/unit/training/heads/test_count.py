"""Counts: Poisson regression, and expected counts whatever the distribution."""

import numpy as np
import pytest
import torch
from scipy import stats

from contract.tasks import CountTask
from tests.durations import sample_of
from training.heads.registry import fit_task, head_of

AT = (np.arange(4_000) + 0.5) / 4_000


def _head(counts):
    return head_of(fit_task(CountTask(name="plays"), sample_of(counts)))


def test_the_loss_is_the_poisson_likelihood_up_to_a_constant_of_each_row():
    counts = stats.poisson.ppf(AT, 3.0)
    head, y = _head(counts), torch.tensor([0.0, 1.0, 7.0])
    raw, other = torch.randn(3, 1), torch.randn(3, 1)

    def likelihood(raw):
        return -stats.poisson.logpmf(y.numpy(), np.exp(raw[:, 0].numpy()) * counts.mean())

    got = (head.row_loss(raw, y, None) - head.row_loss(other, y, None)) * head.task.deviance / 2

    np.testing.assert_allclose(got, likelihood(raw) - likelihood(other), rtol=1e-4, atol=1e-5)


SPREADS = {
    "poisson": lambda rate: stats.poisson.ppf(AT, rate),
    "overdispersed": lambda rate: stats.nbinom.ppf(AT, 0.5, 0.5 / (0.5 + rate)),
}


@pytest.mark.parametrize("spread", list(SPREADS))
def test_each_groups_expected_count_is_learnt_whatever_the_spread(spread):
    groups = [SPREADS[spread](rate) for rate in (0.1, 1.0, 40.0)]
    y, rows = torch.tensor(np.concatenate(groups), dtype=torch.float32), torch.arange(3).repeat_interleave(len(AT))
    head = _head(y.numpy())
    table = torch.zeros(3, 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([table], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = head.row_loss(table[rows], y, None).mean()
        loss.backward()
        return loss

    start = optimiser.step(closure).item()

    assert start == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_allclose(head.finish(table, None)[0].detach(), [group.mean() for group in groups], rtol=5e-3)


def test_extreme_outputs_are_clipped_and_finite():
    head = _head(np.array([0.0, 1.0, 2.0]))
    raw = torch.tensor([[-1e4], [1e4]])

    low, high = head.finish(raw, None)[0].tolist()

    assert 0 < low < 1e-8
    assert 1e8 < high < 1e9
    assert torch.isfinite(head.row_loss(raw, torch.tensor([3.0, 3.0]), None)).all()


def test_rows_without_any_count_can_be_fitted():
    head = _head(np.zeros(5))

    assert head.finish(torch.zeros(1, 1), None)[0].item() == pytest.approx(0.0, abs=1e-5)
