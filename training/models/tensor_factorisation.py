"""Tensor factorisation: the layers of all tasks are slices of one low-rank tensor.

Y. Yang & T. Hospedales, "Deep Multi-task Representation Learning: A Tensor Factorisation Approach", ICLR 2017.
https://arxiv.org/abs/1605.06391

Equations, for every hidden layer, W being the weights ``[I, H, T]`` of all tasks::

    W   = S x_1 U1 x_2 U2 x_3 U3                     Tucker; S [r1, r2, r3], U1 [I, r1], U2 [H, r2], U3 [T, r3]
    W_k = U1 (sum_c U3[k, c] S[:, :, c]) U2^T        what task k multiplies with
    x_k = relu(W_k^T x_k + b_k)                      the first layer reads [u; c], the same for every task
    z_k = t_k(x_k)

U1 and U2 are shared; U3 says how much of each of the r3 shared matrices a task takes. Biases and towers are a task's
own. Independent small factors would multiply to almost nothing, and the network would not train. So the factors are
the higher-order SVD of a He-initialised tensor, scaled so that the variance of W is 2 / I whatever the ranks. At full
ranks this starts as T independent He-initialised networks.

W (:mod:`training.models.tucker`) is contracted before it meets the data: three small products that do not grow with
N, then one matrix product for all tasks. The rows of the first layer's W that read u and those that read c are
multiplied apart, u once a request.

Shapes: x ``[T, N, H]``, z_k ``[N, W_k]``. Parameters: ``I r1 + H r2 + T r3 + r1 r2 r3 + T H`` a layer, T towers.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.errors import InvalidOption
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.registry import register
from training.models.tucker import Tucker

__all__ = ["TensorFactorisation", "TensorFactorisationOptions", "Tucker"]


class TensorFactorisationOptions(Frozen):
    """Options of tensor factorisation.

    Args:
        share: Ranks r1 and r2 as a share of the inputs and outputs of a layer; less shares more and costs less.
        task_rank: Rank r3; None gives T, 1 makes all tasks multiples of one matrix.
        ranks: ``(r1, r2, r3)`` of each hidden layer; given, the two above do not count.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    task_rank: int | None = Field(default=None, ge=1)
    ranks: tuple[tuple[int, int, int], ...] | None = None


@register(
    "tensor_factorisation",
    title="Tensor factorisation, Tucker (Yang & Hospedales, ICLR 2017)",
    link="https://arxiv.org/abs/1605.06391",
)
class TensorFactorisation(MultiTaskModel):
    """One network a task, whose weights are slices of shared tensors."""

    Options = TensorFactorisationOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        count, in_dim = len(self.tasks), self.features.request_dim + self.features.candidate_dim
        shapes = [(count, a, b) for a, b in pairwise((in_dim, *config.hidden))]
        ranks = _ranks(TensorFactorisationOptions(**config.options), shapes)
        self.weights = nn.ModuleList(Tucker(shape, each) for shape, each in zip(shapes, ranks, strict=True))
        self.biases = nn.ParameterList(torch.zeros(count, 1, width) for width in config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.towers = self.make_towers(config.hidden[-1])

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        u_RU, c_NC = self.features(inputs)
        x_TNH = self._first(u_RU, c_NC, inputs.request_index)
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            x_TNH = torch.matmul(self.dropout(torch.relu(x_TNH)), weight()) + bias
        x_TNH = self.dropout(torch.relu(x_TNH))
        return {task: self.towers[task](x_NH) for task, x_NH in zip(self.tasks, x_TNH.unbind(0), strict=True)}

    def _first(self, u_RU: Tensor, c_NC: Tensor, request_index: Tensor) -> Tensor:
        """Give the first layer of all tasks before its activation, ``[T, N, H]``."""
        weight_TIH: Tensor = self.weights[0]()
        weight_IX = weight_TIH.transpose(0, 1).flatten(1)
        request_dim = self.features.request_dim
        x_X: Tensor = self.biases[0].flatten()
        if request_dim:
            x_X = (torch.matmul(u_RU, weight_IX[:request_dim]) + x_X).index_select(0, request_index)
        if self.features.candidate_dim:
            x_X = torch.matmul(c_NC, weight_IX[request_dim:]) + x_X
        return x_X.reshape(-1, len(self.tasks), weight_TIH.shape[2]).transpose(0, 1)


def _ranks(options: TensorFactorisationOptions, shapes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    if options.ranks is None:
        return [_shared_ranks(options, shape) for shape in shapes]
    if len(options.ranks) != len(shapes):
        raise InvalidOption(f"{len(options.ranks)} ranks for {len(shapes)} hidden layers", fix="give one triple each")
    return list(options.ranks)


def _shared_ranks(options: TensorFactorisationOptions, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    count, in_dim, out = shape
    task_rank = min(options.task_rank or count, count, in_dim * out)
    input_rank = min(math.ceil(options.share * in_dim), out * count)
    return input_rank, min(math.ceil(options.share * out), in_dim * count), task_rank
