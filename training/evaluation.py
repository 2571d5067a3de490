"""Held-out rows scored by a model in torch, without an export: what campaigns of many runs report from."""

import numpy as np
import torch
from numpy.typing import NDArray

from contract.tasks import Task
from training.data.batches import batches
from training.data.columns import EncodedSplit
from training.export import ServingModule
from training.inputs import as_tensors
from training.models.base import MultiTaskModel
from training.report import Impressions

__all__ = ["held_out", "predict_heads"]

_REQUESTS = 512


@torch.no_grad()
def predict_heads(
    model: MultiTaskModel, tasks: tuple[Task, ...], split: EncodedSplit
) -> dict[str, NDArray[np.float32]]:
    """Give every head on a whole split, uncalibrated, float32 ``[N]``."""
    model.eval()
    module = ServingModule(model, tasks, ())
    parts = [module.heads(as_tensors(batch.inputs)) for batch in batches(split, requests=_REQUESTS)]
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def held_out(model: MultiTaskModel, tasks: tuple[Task, ...], split: EncodedSplit) -> Impressions:
    """Join predictions and labels of a whole split."""
    lists = split.list_of_row()
    return Impressions(
        lists=lists,
        users=np.asarray(split.groups)[lists],
        labels={label: np.asarray(column) for label, column in split.labels.items()},
        heads=predict_heads(model, tasks, split),
        numbers={},
    )
