"""ListNet over heads: a small network whose scores, as a softmax over a request, should be the request's gains.

Z. Cao, T. Qin, T. Liu, M. Tsai, H. Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007,
https://doi.org/10.1145/1273496.1273513. The loss is the paper's top-one cross-entropy, ``-Σ P_gain(j) log P_score(j)``,
whose gradient by a score is ``P_score(j) - P_gain(j)``. Two things differ: the gains' distribution is their share,
``gain(j) / Σ gain``, not a softmax of them, so that a utility in seconds and one in clicks mean the same; and the
network has a hidden layer where the paper's is linear.
"""

from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.errors import TrainingDiverged, UtilityError
from training.fusing.features import RankingRows

__all__ = ["ListNet", "fit_listnet", "listnet_loss"]

_HIDDEN = (32, 16)
_EPOCHS, _PATIENCE = 60, 8
_REQUESTS = 128
_LEARNING_RATE, _WEIGHT_DECAY = 3e-3, 0.1
_FARTHEST = 8.0  # standard deviations


class ListNet(nn.Module):
    """``features [N, F] -> score [N]``: scaled inputs, two hidden layers, one score a row.

    A column is scaled by ``asinh(x / typical |x|)``, which is linear near 0 and a logarithm far from it, then to mean
    0 and deviation 1. A missing value counts as the column's mean, and a column that had missing ones when the
    network was fitted has a second input that says so.

    Args:
        features: Rows to fit the scaling on, float32 ``[N, F]``, NaN where missing.
    """

    def __init__(self, features: NDArray[np.float32]) -> None:
        super().__init__()
        known = np.isfinite(features)
        typical, mean, std = _scaling(features.astype(np.float64), known)
        for name, values in (("typical", typical), ("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        self.register_buffer("holey", torch.tensor(np.flatnonzero(~known.all(axis=0)), dtype=torch.int64))
        widths = (features.shape[1] + len(self.holey), *_HIDDEN)
        layers = [nn.Sequential(nn.Linear(i, o), nn.ReLU()) for i, o in pairwise(widths)]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    typical: Tensor
    mean: Tensor
    std: Tensor
    holey: Tensor

    def forward(self, x_NF: Tensor) -> Tensor:
        """Score rows, ``[N]``."""
        missing_NF = ~torch.isfinite(x_NF)
        x_NF = torch.where(missing_NF, 0.0, x_NF)
        scaled_NF = ((torch.asinh(x_NF / self.typical) - self.mean) / self.std).clamp(-_FARTHEST, _FARTHEST)
        scaled_NF = torch.where(missing_NF, 0.0, scaled_NF)
        flags_NH = missing_NF.index_select(1, self.holey).to(scaled_NF.dtype)
        score_N: Tensor = self.network(torch.cat([scaled_NF, flags_NH], dim=1)).squeeze(1)
        return score_N


def _scaling(
    x: NDArray[np.float64], known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Give typical size, mean and deviation of every column, from its known values."""
    scaling = []
    for column, have in zip(x.T, known.T, strict=True):
        sizes = np.abs(column[have & (column != 0)])
        typical = float(np.median(sizes)) if len(sizes) else 1.0
        values = np.arcsinh(column[have] / typical) if have.any() else np.zeros(1)
        scaling.append((typical, values.mean(), values.std() or 1.0))
    typical_F, mean_F, std_F = np.array(scaling).T
    return typical_F, mean_F, std_F


def listnet_loss(score_N: Tensor, gain_N: Tensor, list_N: Tensor, weight_R: Tensor) -> Tensor:
    """Top-one cross-entropy, the weighted mean over requests that have a gain.

    Args:
        list_N: Request of each row, 0 to R - 1.
        weight_R: How much each request counts.
    """
    lists = len(weight_R)
    top = score_N.new_full((lists,), -torch.inf).scatter_reduce(0, list_N, score_N.detach(), "amax")
    shifted_N = score_N - top[list_N]
    log_sum = score_N.new_zeros(lists).index_add(0, list_N, shifted_N.exp()).log()
    total = gain_N.new_zeros(lists).index_add(0, list_N, gain_N)
    share_N = gain_N / total.clamp(min=torch.finfo(gain_N.dtype).tiny)[list_N]
    losses = score_N.new_zeros(lists).index_add(0, list_N, share_N * (log_sum[list_N] - shifted_N))
    counted_R = torch.where(total > 0, weight_R, 0.0)
    return (counted_R * losses).sum() / counted_R.sum().clamp(min=torch.finfo(weight_R.dtype).tiny)


def fit_listnet(fit: RankingRows, stop: RankingRows, *, seed: int) -> ListNet:
    """Train until the loss on *stop*, which is later, no longer falls, and give the best weights back.

    Raises:
        TrainingDiverged: When a loss is not finite.
        UtilityError: When nothing to fit on, or to stop by, has a gain.
    """
    if not (fit.gains.any() and stop.gains.any()):
        raise UtilityError("no impression to fit on has a gain", fix="bring more impressions")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = ListNet(fit.features)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    best, best_state, since_best = float("inf"), deepcopy(model.state_dict()), 0
    for _ in range(_EPOCHS):
        for batch in _batches(fit, rng.permutation(len(fit.offsets) - 1)):
            optimiser.zero_grad()
            _loss(model, batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            loss = float(_loss(model, stop))
        if not np.isfinite(loss):
            raise TrainingDiverged("the loss of ListNet is not finite")
        since_best = 0 if loss < best else since_best + 1
        if loss < best:
            best, best_state = loss, deepcopy(model.state_dict())
        if since_best == _PATIENCE:
            break
    model.load_state_dict(best_state)
    return model.eval()


def _batches(rows: RankingRows, order: NDArray[np.int64]) -> Iterator[RankingRows]:
    """Give requests in an order, some at a time."""
    for start in range(0, len(order), _REQUESTS):
        chosen = order[start : start + _REQUESTS]
        lengths = np.diff(rows.offsets)[chosen]
        offsets = np.r_[0, np.cumsum(lengths)].astype(np.int64)
        places = np.repeat(rows.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        yield RankingRows(
            features=rows.features[places], gains=rows.gains[places], offsets=offsets, weights=rows.weights[chosen]
        )


def _loss(model: ListNet, rows: RankingRows) -> Tensor:
    lists = len(rows.offsets) - 1
    list_N = torch.from_numpy(np.repeat(np.arange(lists), np.diff(rows.offsets)))
    gain_N, weight_R = torch.from_numpy(rows.gains).float(), torch.from_numpy(rows.weights).float()
    return listnet_loss(model(torch.from_numpy(rows.features)), gain_N, list_N, weight_R)
