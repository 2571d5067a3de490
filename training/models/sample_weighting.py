"""Sample weighting: one head, and the other labels as the weights of its rows.

The one-model way to several objectives: a click that was watched or liked counts for more, and the ranking follows.
The best known case is weighted logistic regression, P. Covington et al., "Deep Neural Networks for YouTube
Recommendations", RecSys 2016, https://doi.org/10.1145/2959100.2959190: ``base = 0, seconds = "raw"`` and the duration
as the only factor weigh a click by its watch time and every other row by 1.

Equations::

    w_i = min(base + sum_k a_k g_k(y_ik), cap)     on rows with y_i = 1; 1 elsewhere (positives_only)
    L   = mean_i (w_i / mean(w)) BCE(y_i, z_i)
    g   = y of binary labels, log1p(y) of durations and counts, max(y, 0) of other values; 0 where not known

The weights of a batch are brought to a mean of 1, so that the learning rate keeps its meaning. What the network
then gives is a score, not a probability: with odds that are ``E[w | positive]`` times too long. The export calibrates
it (:mod:`training.calibrate`). The network is :mod:`training.models.shared_bottom` with a single task.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import BinaryTask, CountTask, DurationTask, Task
from training.errors import InvalidOption
from training.inputs import TensorInputs
from training.losses import RowLoss, own_row_loss
from training.models.base import ModelConfig
from training.models.registry import register
from training.models.shared_bottom import SharedBottom

__all__ = ["SampleWeighting", "SampleWeightingOptions"]


class SampleWeightingOptions(Frozen):
    """What sample weighting has of its own.

    Args:
        main: Binary task that is served; the first that every row has by default.
        factors: a_k of each other label; 1 where not given, 0 leaves a label out.
        base: Weight that a row starts from.
        seconds: How durations count, as ``log1p`` or as they are.
        positives_only: Weighs only rows where the main label is 1.
        cap: Largest weight before it is normalised; None for no limit.
    """

    main: str | None = None
    factors: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    base: float = Field(default=1.0, ge=0)
    seconds: Literal["log1p", "raw"] = "log1p"
    positives_only: bool = True
    cap: float | None = Field(default=20.0, gt=0)


@register("sample_weighting", title="Sample weighting (Covington et al., RecSys 2016)",
          link="https://doi.org/10.1145/2959100.2959190")  # fmt: skip
class SampleWeighting(SharedBottom):
    """One head, trained on rows that weigh what their other labels are worth."""

    Options = SampleWeightingOptions
    is_calibrated = False

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = SampleWeightingOptions(**config.options)
        (self.main,) = self.tasks
        self.signals = {task.name: task for task in tasks if task.name != self.main}

    @classmethod
    def adapt_tasks(cls, tasks: Sequence[Task], config: ModelConfig) -> tuple[Task, ...]:
        """Keep the main task alone.

        Raises:
            InvalidOption: When there is no such binary task.
        """
        wanted = SampleWeightingOptions(**config.options).main
        binary = [task for task in tasks if isinstance(task, BinaryTask)]
        fitting = [t for t in binary if (t.given is None if wanted is None else t.name == wanted)]
        if not fitting:
            known = ", ".join(task.name for task in binary) or "none"
            which = "that every row has" if wanted is None else f"called {wanted!r}"
            raise InvalidOption(f"there is no binary task {which} to be main", fix=f"binary tasks are: {known}")
        return (fitting[0],)

    def row_losses(
        self, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor], inputs: TensorInputs
    ) -> dict[str, RowLoss]:
        """Give the main task's loss, times each row's weight."""
        rows = own_row_loss(self.task_specs[self.main], raw[self.main], labels, inputs)
        weight_N = self.weights(labels)
        return {self.main: RowLoss(values=rows.values * weight_N, defined=rows.defined)}

    def weights(self, labels: Mapping[str, Tensor]) -> Tensor:
        """Give every row's weight, ``[N]``, with a mean of 1 over the rows that have the main label.

        Raises:
            InvalidOption: When a factor is of a label that is not there.
        """
        unknown = sorted(self.options.factors.keys() - self.signals.keys())
        if unknown:
            raise InvalidOption(f"there is no other label {unknown[0]!r}", fix=f"there are: {', '.join(self.signals)}")
        main_N = labels[self.main]
        weight_N = torch.full_like(main_N, self.options.base)
        for name, task in self.signals.items():
            weight_N = weight_N + self.options.factors.get(name, 1.0) * self._worth(task, labels[name])
        if self.options.cap is not None:
            weight_N = torch.clamp(weight_N, max=self.options.cap)
        if self.options.positives_only:
            weight_N = torch.where(main_N == 1, weight_N, torch.ones_like(weight_N))
        defined_N = torch.isfinite(main_N).to(weight_N.dtype)
        mean = (weight_N * defined_N).sum() / torch.clamp(defined_N.sum(), min=1.0)
        return weight_N / torch.where(mean > 0, mean, torch.ones_like(mean))

    def _worth(self, task: Task, label_N: Tensor) -> Tensor:
        known_N = torch.clamp(torch.nan_to_num(label_N), min=0.0)
        as_is = isinstance(task, DurationTask) and self.options.seconds == "raw"
        is_amount = isinstance(task, DurationTask | CountTask) and not as_is
        return torch.log1p(known_N) if is_amount else known_N
