"""The graph's inputs as tensors."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.arrays import GraphInputs
from training.shares import ShareSource

__all__ = ["TensorInputs", "as_tensors", "unfactored"]


@dataclass(frozen=True, kw_only=True)
class TensorInputs:
    """Every request once, every candidate once, and which belongs to which; see :class:`contract.arrays.GraphInputs`.

    Args:
        request_ids: int64 ``[R, F]``.
        request_dense: float32 ``[R, M]``.
        candidate_ids: int64 ``[N, F]``.
        candidate_dense: float32 ``[N, M]``.
        request_index: int64 ``[N]``: the request of each candidate.
        shares: Stands for the candidate side where a network is cut in two; None everywhere else.
    """

    request_ids: Tensor
    request_dense: Tensor
    candidate_ids: Tensor
    candidate_dense: Tensor
    request_index: Tensor
    shares: ShareSource | None = None


def as_tensors(inputs: GraphInputs) -> TensorInputs:
    """Wrap NumPy arrays without copying them where they are writable already."""
    return TensorInputs(
        request_ids=_tensor(inputs.request.ids),
        request_dense=_tensor(inputs.request.dense),
        candidate_ids=_tensor(inputs.candidate.ids),
        candidate_dense=_tensor(inputs.candidate.dense),
        request_index=_tensor(inputs.request_index),
    )


def unfactored(inputs: TensorInputs) -> TensorInputs:
    """Repeat each request for each of its candidates, as ordinary trainers lay data out: same meaning, more work."""
    index = inputs.request_index
    repeated: dict[str, Any] = {
        field.name: getattr(inputs, field.name).index_select(0, index)
        for field in fields(inputs)
        if field.name in ("request_ids", "request_dense")
    }
    return replace(inputs, **repeated, request_index=torch.arange(len(index)))


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
