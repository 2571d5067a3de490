"""Values: squared error of the standardised label, served in its own unit."""

import numpy as np
import pytest
import torch

from contract.tasks import RegressionTask
from tests.durations import sample_of
from training.heads.registry import fit_task, head_of


def test_mean_and_spread_come_from_the_training_rows_and_the_answer_is_in_their_unit():
    values = np.array([-40.0, 10.0, 30.0, 200.0])
    head = head_of(fit_task(RegressionTask(name="price"), sample_of(values)))

    got = head.finish(torch.tensor([[0.0], [1.0]]), None)[0]

    np.testing.assert_allclose(got, [values.mean(), values.mean() + values.std()], rtol=1e-6)


def test_the_loss_begins_at_one_in_any_unit_and_is_the_squared_error():
    for unit in (1e-3, 1.0, 1e4):
        values = torch.tensor([-40.0, 10.0, 30.0, 200.0]) * unit
        head = head_of(fit_task(RegressionTask(name="price"), sample_of(values.numpy())))
        raw = torch.randn(4, 1)

        start = head.row_loss(torch.zeros(4, 1), values, None)
        error = (head.finish(raw, None)[0] - values) / values.std(unbiased=False)

        assert start.mean().item() == pytest.approx(1.0, rel=1e-4)
        torch.testing.assert_close(head.row_loss(raw, values, None), error**2, rtol=1e-3, atol=1e-4)


def test_equal_values_can_be_fitted():
    head = head_of(fit_task(RegressionTask(name="price"), sample_of(np.full(9, 5.0))))

    assert head.finish(torch.zeros(1, 1), None)[0].item() == pytest.approx(5.0)
