"""Partitioned normalisation: statistics of each partition, whatever its share of a batch."""

import torch

from training.models.partitioned_norm import DECAY, FEWEST_ROWS, PartitionedNorm


def _one_hot(partitions, rows):
    return torch.nn.functional.one_hot(torch.tensor(rows), partitions).float()


def _train(norm, x, rows):
    return norm.train()(x, _one_hot(norm.mean_VP.shape[1], rows))


def test_training_normalises_each_partition_by_its_own_rows_of_the_batch():
    torch.manual_seed(0)
    norm, rows = PartitionedNorm(2, 3), [0] * 10 + [1] * 12
    x = torch.cat([torch.randn(10, 3) * 2 + 5, torch.randn(12, 3) * 0.1 - 3])

    scale, shift = _train(norm, x, rows)

    for p, piece in enumerate((x[:10], x[10:])):
        z = piece * scale[p] + shift[p]
        torch.testing.assert_close(z.mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
        torch.testing.assert_close(z.var(dim=0, correction=0), torch.ones(3), atol=2e-2, rtol=0)


def test_serving_applies_the_shared_and_the_own_affine_map_as_the_paper_writes_them():
    torch.manual_seed(0)
    norm = PartitionedNorm(2, 3)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    norm.count_P, norm.mean_VP, norm.var_VP = torch.ones(2), torch.randn(3, 2), torch.rand(3, 2) + 0.1
    x = torch.randn(4, 3)

    scale, shift = norm.eval()(x, None)

    for p in range(2):
        standard = (x - norm.mean_VP[:, p]) / torch.sqrt(norm.var_VP[:, p] + 1e-5)
        gamma, beta = norm.gamma_V * (1 + norm.own_gamma_PV[p]), norm.beta_V + norm.own_beta_PV[p]
        torch.testing.assert_close(x * scale[p] + shift[p], gamma * standard + beta)


def test_moving_statistics_weigh_batches_by_their_rows():
    """A plain moving mean would give a batch of 3 rows the weight of one of 30."""
    torch.manual_seed(0)
    norm, first, second = PartitionedNorm(2, 1), torch.randn(30, 1), torch.randn(3, 1) + 7

    _train(norm, torch.cat([first, torch.zeros(5, 1)]), [0] * 30 + [1] * 5)
    _train(norm, torch.cat([second, torch.zeros(5, 1)]), [0] * 3 + [1] * 5)

    weights = torch.cat([torch.full((30, 1), DECAY), torch.ones(3, 1)])
    values = torch.cat([first, second])
    mean = (weights * values).sum() / weights.sum()
    torch.testing.assert_close(norm.mean_VP[0, 0], mean)
    torch.testing.assert_close(norm.var_VP[0, 0], (weights * (values - mean).square()).sum() / weights.sum())


def test_a_partition_without_rows_keeps_its_statistics_to_the_bit():
    norm = PartitionedNorm(2, 1)
    _train(norm, torch.randn(20, 1), [0] * 10 + [1] * 10)
    before = norm.count_P[1].clone(), norm.mean_VP[:, 1].clone(), norm.var_VP[:, 1].clone()

    scale, shift = _train(norm, torch.randn(20, 1) + 3, [0] * 20)

    assert (norm.count_P[1], norm.mean_VP[:, 1], norm.var_VP[:, 1]) == before
    assert torch.isfinite(scale).all()
    assert torch.isfinite(shift).all()


def test_a_partition_with_few_rows_is_normalised_by_its_moving_statistics():
    """Two rows have no spread worth dividing by: a single request's features would all become 0."""
    norm = PartitionedNorm(2, 1)
    _train(norm, torch.randn(40, 1), [0] * 20 + [1] * 20)
    few = FEWEST_ROWS - 1

    scale, shift = _train(norm, torch.cat([torch.randn(20, 1), torch.full((few, 1), 0.5)]), [0] * 20 + [1] * few)

    served = norm.eval()(torch.zeros(0, 1), None)
    assert torch.equal(scale[1], served[0][1])
    assert torch.equal(shift[1], served[1][1])
    assert not torch.equal(scale[0], served[0][0])


def test_a_partition_never_seen_is_served_by_the_statistics_of_all():
    torch.manual_seed(0)
    norm, x = PartitionedNorm(3, 2), torch.cat([torch.randn(10, 2), torch.randn(30, 2) + 4])

    _train(norm, x, [0] * 10 + [1] * 30)

    mean, var = norm.moving()
    torch.testing.assert_close(mean[:, 2], x.mean(dim=0))
    torch.testing.assert_close(var[:, 2], x.var(dim=0, correction=0))


def test_before_any_training_the_inputs_stay_as_they_are():
    scale, shift = PartitionedNorm(3, 2).eval()(torch.zeros(0, 2), None)

    torch.testing.assert_close(scale, torch.ones(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(shift, torch.zeros(3, 2))


def test_gradients_flow_through_the_batchs_own_statistics():
    """Then adding a constant to a whole partition changes nothing, and its gradient says so."""
    norm, x = PartitionedNorm(1, 2), torch.randn(16, 2, requires_grad=True)

    scale, shift = _train(norm, x, [0] * 16)
    (x * scale + shift).pow(3).sum().backward()

    torch.testing.assert_close(x.grad.sum(dim=0), torch.zeros(2), atol=1e-3, rtol=0)
