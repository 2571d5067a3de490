"""Dropout by cheap bits is dropout."""

import pytest
import torch

from training.models.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(share):
    torch.manual_seed(0)

    got = Dropout(share).train()(torch.ones(1000, 1000))

    assert (got == 0).float().mean().item() == pytest.approx(share, abs=0.002)
    assert got.mean().item() == pytest.approx(1.0, abs=0.01)
    assert got.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-3)


def test_units_that_share_a_draw_are_dropped_independently():
    torch.manual_seed(0)

    kept = (Dropout(0.5).train()(torch.ones(100_000, 4)) > 0).double()

    correlation = torch.corrcoef(kept.T) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 0.02


def test_serving_changes_nothing():
    x = torch.randn(5, 3)

    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 0), (2, 3, 7)])
def test_any_shape_will_do(shape):
    assert Dropout(0.3).train()(torch.ones(shape)).shape == shape


def test_the_same_seed_drops_the_same_units():
    x, dropout = torch.randn(40, 40), Dropout(0.3).train()

    torch.manual_seed(7)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(7)

    assert torch.equal(first, dropout(x))
    assert not torch.equal(first, second)


def test_gradients_pass_through_what_was_kept():
    x = torch.ones(40, 40, requires_grad=True)

    got = Dropout(0.3).train()(x)
    got.sum().backward()

    torch.testing.assert_close(x.grad, got.detach())
