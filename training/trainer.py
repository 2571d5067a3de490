"""The training loop: batches in, best weights out. Reads top to bottom."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import training.balancing
from contract.tasks import DurationTask
from training.averaging import WeightAverage
from training.balancing.base import Balancer, BalancerParts, make_balancer
from training.balancing.probe import GradientProbe
from training.config import TrainConfig
from training.data.batches import Batch, batches, shuffled_batches
from training.data.columns import EncodedSplit
from training.errors import TrainingDiverged
from training.heads.duration import DurationHead
from training.heads.registry import head_of
from training.inputs import as_tensors
from training.losses import mean_loss
from training.models.base import MultiTaskModel
from training.optim import Optimisers

__all__ = ["EpochResult", "fit", "naive_seconds", "predict", "train_epoch"]

_PREDICT_REQUESTS = 512
_MAX_NORM = 10.0
_ = training.balancing  # filled the registry


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Mean losses of one epoch, by task.

    Args:
        score: Validation losses, each relative to its first epoch's, summed with the tasks' weights: what decides
            which epoch is best. Relative, so that a loss in log-seconds does not outvote a cross-entropy.
        balance: Means over the epoch's batches: ``weight/<task>``, the effective weights, and ``cosine/<task>/<task>``
            of gradients on the shared parameters where the balancer or a probe computed them.
    """

    epoch: int
    train: dict[str, float]
    validation: dict[str, float]
    score: float
    is_best: bool
    balance: dict[str, float] = field(default_factory=dict)


def fit(
    model: MultiTaskModel,
    train: EncodedSplit,
    validation: EncodedSplit,
    config: TrainConfig,
    *,
    on_batch: Callable[[int], None] = lambda rows: None,
) -> list[EpochResult]:
    """Train until the validation score stops falling, then put the best weights back.

    The same seed on the same machine gives the same losses.

    Args:
        on_batch: Called with the rows of every finished training batch.

    Raises:
        TrainingDiverged: When a loss is not finite.
        InvalidOption: When there is no such balancer or option.
    """
    rng = np.random.default_rng(config.seed)
    balancer = _balancer(model, config)
    probe = _probe(balancer.parts, train, config)
    optimiser = Optimisers(model, balancer.parameters(), config.optim)
    average = WeightAverage(model, config.optim.averaging)
    best, best_state, history = float("inf"), deepcopy(model.state_dict()), list[EpochResult]()
    since_best = 0
    for epoch in range(1, config.epochs + 1):
        model.train()
        balancer.start_epoch(history[-1].train if history else None)
        epoch_batches = shuffled_batches(train, requests=config.optim.batch_requests, rng=rng)
        trained = _one_epoch(model, epoch_batches, balancer, optimiser, average, on_batch, probe)
        with average.in_place():
            validated = _evaluate(model, validation)
            score = _score(validated, history[0].validation if history else validated, config.task_weights)
            since_best = 0 if score < best else since_best + 1
            if score < best:
                best, best_state = score, deepcopy(model.state_dict())
        history.append(
            EpochResult(
                epoch=epoch,
                train=trained,
                validation=validated,
                score=score,
                is_best=since_best == 0,
                balance=probe.statistics() | balancer.statistics(),
            )
        )
        if since_best >= config.optim.patience:
            break
    model.load_state_dict(best_state)
    model.eval()
    return history


def _score(losses: Mapping[str, float], first: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Sum losses relative to the first epoch's; a likelihood may be negative there, so relative to its size."""
    relative = {task: (loss - first[task]) / max(abs(first[task]), 1e-9) + 1.0 for task, loss in losses.items()}
    return sum(weights.get(task, 1.0) * each for task, each in relative.items())


def _one_epoch(
    model: MultiTaskModel,
    epoch_batches: Iterable[Batch],
    balancer: Balancer,
    optimiser: Optimisers,
    average: WeightAverage,
    on_batch: Callable[[int], None],
    probe: GradientProbe,
) -> dict[str, float]:
    mean = _RunningMean(model.tasks)
    for batch in epoch_batches:
        losses = _Losses.of(model, batch)
        if not torch.isfinite(losses.values_T).all():
            raise TrainingDiverged(
                f"the losses became {losses.values_T.tolist()}",
                fix="lower the learning rate or look for broken features",
            )
        probe.look(losses.values_T)
        optimiser.zero_grad()
        balancer.backward(losses.values_T, losses.penalty)
        optimiser.step(max_norm=_MAX_NORM)
        average.update()
        balancer.after_step(lambda batch=batch: _Losses.of(model, batch).values_T)  # type: ignore[misc]
        mean.add(losses)
        on_batch(len(batch.inputs.request_index))
    return mean.value()


def train_epoch(model: MultiTaskModel, epoch_batches: Iterable[Batch], config: TrainConfig) -> dict[str, float]:
    """Go through some batches once with fresh optimisers; gives the mean losses."""
    model.train()
    balancer = _balancer(model, config)
    optimiser = Optimisers(model, balancer.parameters(), config.optim)
    average, probe = WeightAverage(model, 0.0), GradientProbe(balancer.parts, every=None)
    return _one_epoch(model, epoch_batches, balancer, optimiser, average, lambda _rows: None, probe)


@torch.no_grad()
def _evaluate(model: MultiTaskModel, split: EncodedSplit) -> dict[str, float]:
    model.eval()
    mean = _RunningMean(model.tasks)
    for batch in batches(split, requests=_PREDICT_REQUESTS):
        mean.add(_Losses.of(model, batch))
    return mean.value()


@torch.no_grad()
def predict(model: MultiTaskModel, split: EncodedSplit) -> dict[str, NDArray[np.float32]]:
    """Give what the heads read on a whole split, by task, float32 ``[N, W]``."""
    model.eval()
    parts = [model.served(model(as_tensors(batch.inputs))) for batch in batches(split, requests=_PREDICT_REQUESTS)]
    return {task: np.concatenate([part[task].numpy() for part in parts]) for task in model.tasks}


@torch.no_grad()
def naive_seconds(model: MultiTaskModel, task: DurationTask, split: EncodedSplit) -> NDArray[np.float32]:
    """Give a duration's seconds on a whole split before they are debiased, ``[N]``."""
    model.eval()
    head = head_of(task)
    if not isinstance(head, DurationHead):
        msg = f"{task.name} has no duration head"
        raise TypeError(msg)
    parts = []
    for batch in batches(split, requests=_PREDICT_REQUESTS):
        inputs = as_tensors(batch.inputs)
        parts.append(head.seconds(model.served(model(inputs))[task.name], inputs).numpy())
    return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True)
class _Losses:
    """Losses of one batch, ``[T]``, the rows (or their weight) that each is a mean of, and what is added to them."""

    values_T: Tensor
    rows_T: Tensor
    penalty: Tensor | None

    @classmethod
    def of(cls, model: MultiTaskModel, batch: Batch) -> "_Losses":
        inputs = as_tensors(batch.inputs)
        raw = model(inputs)
        labels = {name: torch.from_numpy(column) for name, column in batch.labels.items()}
        weights_N = None if batch.weights is None else torch.from_numpy(batch.weights)
        rows = model.row_losses(raw, labels, inputs)
        counted = [row.defined if weights_N is None else row.defined * weights_N for row in rows.values()]
        return cls(
            values_T=torch.stack([mean_loss(row, weights_N) for row in rows.values()]),
            rows_T=torch.stack([each.sum() for each in counted]),
            penalty=model.penalty(raw),
        )


class _RunningMean:
    """Means over the rows that have each label, not over batches."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self.sums_T = torch.zeros(len(self.tasks), dtype=torch.float64)
        self.rows_T = torch.zeros(len(self.tasks), dtype=torch.float64)

    def add(self, losses: _Losses) -> None:
        self.sums_T += (losses.values_T * losses.rows_T).detach()
        self.rows_T += losses.rows_T

    def value(self) -> dict[str, float]:
        means_T = self.sums_T / torch.clamp(self.rows_T, min=1e-9)
        return dict(zip(self.tasks, means_T.tolist(), strict=True))


def _balancer(model: MultiTaskModel, config: TrainConfig) -> Balancer:
    shared = model.shared_parameters()
    chosen = {id(parameter) for parameter in shared}
    parts = BalancerParts(
        tasks=model.tasks,
        weights=config.task_weights,
        shared=shared,
        own=[parameter for parameter in model.parameters() if id(parameter) not in chosen],
        seed=config.seed,
    )
    return make_balancer(config.balancer, config.balancer_options, parts)


def _probe(parts: BalancerParts, train: EncodedSplit, config: TrainConfig) -> GradientProbe:
    """Spread the wanted looks over an epoch's batches."""
    batch_count = -(-train.num_requests // config.optim.batch_requests)
    looks = config.probe_gradients
    return GradientProbe(parts, every=max(1, batch_count // looks) if looks else None)
