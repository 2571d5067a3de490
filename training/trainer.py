"""The training loop: batches in, best weights out. Reads top to bottom."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from contract.arrays import GraphInputs
from contract.tasks import Task
from training.config import TrainConfig
from training.data.batches import Batch, batches, shuffled_batches
from training.data.columns import EncodedSplit
from training.errors import TrainingDiverged
from training.losses import task_loss
from training.models.base import MultiTaskModel
from training.models.layers import TensorInputs

__all__ = ["EpochResult", "as_tensors", "fit", "predict"]

_PREDICT_REQUESTS = 512


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Mean losses of one epoch, by task."""

    epoch: int
    train: dict[str, float]
    validation: dict[str, float]
    is_best: bool


def fit(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    train: EncodedSplit,
    validation: EncodedSplit,
    config: TrainConfig,
    *,
    on_batch: Callable[[int], None] = lambda rows: None,
) -> list[EpochResult]:
    """Train until the validation loss stops falling, then put the best weights back.

    The same seed on the same machine gives the same losses.

    Args:
        on_batch: Called with the rows of every finished training batch.

    Raises:
        TrainingDiverged: When a loss is not finite.
    """
    rng = np.random.default_rng(config.seed)
    optimiser = _optimiser(model, config)
    best, best_state, history = float("inf"), deepcopy(model.state_dict()), list[EpochResult]()
    since_best = 0
    for epoch in range(1, config.epochs + 1):
        model.train()
        epoch_batches = shuffled_batches(train, requests=config.optim.batch_requests, rng=rng)
        trained = _one_epoch(model, tasks, epoch_batches, config, optimiser, on_batch)
        validated = _evaluate(model, tasks, validation)
        total = sum(config.task_weights.get(task, 1.0) * loss for task, loss in validated.items())
        since_best = 0 if total < best else since_best + 1
        if total < best:
            best, best_state = total, deepcopy(model.state_dict())
        history.append(EpochResult(epoch=epoch, train=trained, validation=validated, is_best=since_best == 0))
        if since_best >= config.optim.patience:
            break
    model.load_state_dict(best_state)
    model.eval()
    return history


def _one_epoch(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    epoch_batches: Iterable[Batch],
    config: TrainConfig,
    optimiser: torch.optim.Optimizer,
    on_batch: Callable[[int], None],
) -> dict[str, float]:
    mean = _RunningMean(tasks)
    for batch in epoch_batches:
        losses = _losses(model, tasks, batch)
        total = torch.stack([config.task_weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        if not torch.isfinite(total):
            raise TrainingDiverged(
                f"the loss became {total.item()}", fix="lower the learning rate or look for broken features"
            )
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
        optimiser.step()
        mean.add(batch, losses)
        on_batch(len(batch.inputs.request_index))
    return mean.value()


@torch.no_grad()
def _evaluate(model: MultiTaskModel, tasks: Sequence[Task], split: EncodedSplit) -> dict[str, float]:
    model.eval()
    mean = _RunningMean(tasks)
    for batch in batches(split, requests=_PREDICT_REQUESTS):
        mean.add(batch, _losses(model, tasks, batch))
    return mean.value()


@torch.no_grad()
def predict(model: MultiTaskModel, split: EncodedSplit) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Give the model's raw outputs on a whole split, by task, float32 ``[N]``."""
    model.eval()
    parts = [model(as_tensors(batch.inputs)) for batch in batches(split, requests=_PREDICT_REQUESTS)]
    return {task: np.concatenate([part[task].numpy() for part in parts]) for task in model.tasks}


class _RunningMean:
    """Means over the rows that have each label, not over batches."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.sums = {task.name: 0.0 for task in tasks}
        self.rows = {task.name: 0 for task in tasks}

    def add(self, batch: Batch, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            rows = int(np.isfinite(batch.labels[name]).sum())
            self.sums[name] += loss.item() * rows
            self.rows[name] += rows

    def value(self) -> dict[str, float]:
        return {name: self.sums[name] / max(1, self.rows[name]) for name in self.sums}


def _losses(model: MultiTaskModel, tasks: Sequence[Task], batch: Batch) -> dict[str, Tensor]:
    outputs = model(as_tensors(batch.inputs))
    return {task.name: task_loss(task, outputs[task.name], torch.from_numpy(batch.labels[task.name])) for task in tasks}


def as_tensors(inputs: GraphInputs) -> TensorInputs:
    """Wrap NumPy arrays without copying them where they are writable already."""
    return TensorInputs(
        request_ids=_tensor(inputs.request.ids),
        request_dense=_tensor(inputs.request.dense),
        candidate_ids=_tensor(inputs.candidate.ids),
        candidate_dense=_tensor(inputs.candidate.dense),
        request_index=_tensor(inputs.request_index),
    )


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, ICLR 2019); decay would shrink the vectors of rare ids to nothing."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) in tables], "weight_decay": 0.0},
        {"params": [p for p in parameters if id(p) not in tables]},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.optim.learning_rate,
        weight_decay=config.optim.weight_decay,
    )
