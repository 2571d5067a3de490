"""ESCM²: ESMM whose conversion rate is held unbiased by a counterfactual risk.

H. Wang et al., "ESCM²: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate Estimation",
SIGIR 2022. https://arxiv.org/abs/2204.05125

Equations, o click, r conversion, d = BCE(r, p_cvr), q = max(stop_gradient(p_ctr), clip)::

    L       = L_ctr + lambda_c L_cvr + lambda_g L_ctcvr
    L_cvr   = mean(o d / q)                                                            variant "ips"
    L_cvr   = mean(i + o e / q) + mean(o e² / q),  e = d - i,  i = softplus(z_imp)     variant "dr"

Means are over all impressions. ``i`` imputes the loss of rows that nobody clicked, from a third network that is
dropped at export; a cross-entropy has no upper bound, so it is a softplus. The last mean trains the imputation
alone (d is held fixed in it), as in the doubly robust joint learning that the paper builds on, X. Wang et al., ICML
2019, https://proceedings.mlr.press/v97/wang19n.html: its gradient by d would raise the loss of rows that are
better than imputed, and with it the rate. In longer funnels q is the probability that all earlier stages
happen. All else is as in :mod:`training.models.esmm`.

Parameters: those of ESMM; for "dr" one more network and tower for each later stage.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Task
from training.inputs import TensorInputs
from training.losses import RowLoss
from training.models.base import ModelConfig
from training.models.entire_space import TaskNetworks, joint_label, log_joint
from training.models.esmm import Esmm
from training.models.registry import register

__all__ = ["Escm2", "Escm2Options"]


class Escm2Options(Frozen):
    """What ESCM² has of its own.

    Args:
        variant: ``ips`` weights clicked rows by inverse propensity; ``dr``, doubly robust, adds imputed losses.
        clip: Least propensity; weights are at most ``1 / clip``. Lower is less biased and noisier.
        counterfactual_weight: lambda_c.
        global_weight: lambda_g.
    """

    variant: Literal["ips", "dr"] = "ips"
    clip: float = Field(default=0.05, gt=0, le=1)
    counterfactual_weight: float = Field(default=0.1, ge=0)
    global_weight: float = Field(default=1.0, ge=0)


@register("escm2", title="ESCM² (Wang et al., SIGIR 2022)", link="https://arxiv.org/abs/2204.05125")
class Escm2(Esmm):
    """Entire-space counterfactual multi-task model."""

    Options = Escm2Options

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = Escm2Options(**config.options)
        imputed = dict.fromkeys(self.funnels if self.options.variant == "dr" else (), 1)
        self.imputations = (
            TaskNetworks(self.features, imputed, config.hidden, config.tower_hidden, config.dropout)
            if imputed
            else None
        )

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give ESMM's raw outputs, and for "dr" each later stage's imputation beside them, ``[N, 1]``."""
        u_RU, c_NC = self.features(inputs)
        raw: dict[str, Tensor] = self.networks(u_RU, c_NC, inputs)
        imputed = {} if self.imputations is None else self.imputations(u_RU, c_NC, inputs)
        return raw | {_imputation(name): value for name, value in imputed.items()}

    def served(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the imputations: they only train."""
        return {name: raw[name] for name in self.tasks}

    def row_losses(
        self, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor], inputs: TensorInputs
    ) -> dict[str, RowLoss]:
        """Give ESMM's losses, with the counterfactual risk added to those of later stages."""
        losses = super().row_losses(raw, labels, inputs)
        return {name: self._regularised(name, row, raw, labels) for name, row in losses.items()}

    def _regularised(
        self, name: str, joint: RowLoss, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor]
    ) -> RowLoss:
        if name not in self.funnels:
            return joint
        reached_N = joint_label(self.funnels[name], labels)
        risk_N = self._risk(name, torch.nan_to_num(reached_N), raw, labels)
        return RowLoss(
            values=self.options.global_weight * joint.values + self.options.counterfactual_weight * risk_N,
            defined=joint.defined & torch.isfinite(reached_N),
        )

    def _risk(self, name: str, reached_N: Tensor, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        target_N = torch.nan_to_num(labels[name])
        loss_N = F.binary_cross_entropy_with_logits(raw[name][:, 0], target_N, reduction="none")
        weight_N = reached_N / self.propensity(name, raw)
        if self.options.variant == "ips":
            return weight_N * loss_N
        imputed_N = F.softplus(raw[_imputation(name)][:, 0])
        error_N = loss_N - imputed_N
        return imputed_N + weight_N * error_N + weight_N * (loss_N.detach() - imputed_N) ** 2

    def propensity(self, name: str, raw: Mapping[str, Tensor]) -> Tensor:
        """Give the clipped probability that a row reaches a task, ``[N]``; no gradient flows through it."""
        logit_KN = torch.stack([raw[stage][:, 0] for stage in self.funnels[name]])
        return torch.clamp(torch.exp(log_joint(logit_KN.detach())), min=self.options.clip)

    def effective_sample_size(self, raw: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, float]:
        """Tell how many equally weighted rows the inverse propensities are worth, ``(sum w)² / sum w²``, by task.

        Far fewer than the rows that reached the task mean that a few rows decide: raise ``clip``.

        Args:
            raw: Logits as :func:`training.trainer.predict` gives them, ``[N, 1]``.
            labels: Label to ``[N]``, NaN where not defined.
        """
        sizes = {}
        for name, chain in self.funnels.items():
            weight_N = (torch.nan_to_num(joint_label(chain, labels)) / self.propensity(name, raw)).double()
            sizes[name] = float(weight_N.sum() ** 2 / torch.clamp((weight_N**2).sum(), min=1e-12))
        return sizes


def _imputation(task: str) -> str:
    return f"{task}:imputation"
