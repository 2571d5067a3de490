"""TranSUN: two outputs, one of which learns what the other lacks."""

import numpy as np
import torch

from contract.durations import LogMse, Transun
from tests.durations import FAMILIES, fitted_head, learn


def test_losses_and_seconds_by_hand():
    head = fitted_head(Transun(epsilon=0.5), FAMILIES["gamma"][1])
    o, raw, y = head.objective, torch.tensor([[0.4, -0.3], [-0.2, 0.1]]), np.array([12.0, 90.0])
    f = o.mean + o.std * raw[:, 0].numpy()
    z = o.ratio_mean + o.ratio_std * raw[:, 1].numpy()

    wanted = ((f - np.log1p(y)) / o.std) ** 2 + ((z - y / (np.abs(np.expm1(f)) + 0.5)) / o.ratio_std) ** 2

    got = head.row_loss(raw, torch.tensor(y, dtype=torch.float32), None)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    np.testing.assert_allclose(head.seconds(raw, None), z * (np.abs(np.expm1(f)) + 0.5), rtol=1e-5)
    np.testing.assert_allclose(head.log_seconds(raw, None), f, rtol=1e-6)


def test_the_factors_loss_sends_no_gradient_into_the_logarithm():
    head = fitted_head(Transun(), FAMILIES["gamma"][1])
    raw, seconds = torch.randn(5, 2, requires_grad=True), torch.full((5,), 30.0)

    head.row_loss(raw, seconds, None).sum().backward()

    o, f = head.objective, raw.detach()[:, 0]
    alone = 2 * (o.mean + o.std * f - torch.log1p(seconds)) / o.std
    torch.testing.assert_close(raw.grad[:, 0], alone)


def test_its_logarithm_learns_what_a_plain_one_does():
    groups = FAMILIES["lognormal"]

    np.testing.assert_allclose(learn(Transun(), groups).log_seconds, learn(LogMse(), groups).log_seconds, atol=2e-3)


def test_seconds_stay_a_mean_however_wrong_the_logarithm_is():
    """The factor is a mean given x, whatever it is divided by: here a logarithm that is off by far."""
    seconds = np.concatenate(FAMILIES["gamma"])
    head, wrong = fitted_head(Transun(), seconds), torch.tensor([[-3.0]])
    y = torch.tensor(seconds, dtype=torch.float32)
    unit = float((head.seconds(torch.cat([wrong, torch.ones(1, 1)], dim=1), None) / 1.0).item())
    z = head.objective.ratio_mean + head.objective.ratio_std
    ratio = (y / (unit / z)).mean().item()
    best = torch.tensor([[-3.0, (ratio - head.objective.ratio_mean) / head.objective.ratio_std]])

    assert abs(head.seconds(best, None).item() / seconds.mean() - 1) < 1e-4
