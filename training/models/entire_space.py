"""What models of a funnel share: joint labels, joint probabilities from conditional logits, one network a task.

A funnel is a chain of binary labels in which each is defined only where the one before it is 1: impression,
click, conversion. A task's *ancestors* are the labels before its own, nearest first. Its *joint* event is that it
and all its ancestors happened; unlike the conditional one it has a label on every impression.

Shape letters as in :mod:`training.models.layers`; K stages of one chain.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contract.tasks import BinaryTask, Task, heads_of
from training.errors import DataError
from training.inputs import TensorInputs
from training.losses import RowLoss
from training.models.layers import Experts, Features, tower

__all__ = [
    "TaskNetworks",
    "conditional_logit",
    "funnels",
    "joint_bce",
    "joint_label",
    "joint_row_loss",
    "log_joint",
    "log_not_joint",
    "with_joint_heads",
]

# Least distance of a joint logit below its parent's: their quotient's logit has to stay finite in float32.
_GAP = 1e-5


def funnels(tasks: Mapping[str, Task]) -> dict[str, tuple[str, ...]]:
    """Find the tasks that are a later stage of a funnel, and their ancestors, nearest first.

    A task counts only if every ancestor is a binary task of the model: otherwise its joint probability is not known.

    Raises:
        DataError: When a label is given itself.
    """
    chains = {name: _ancestors(task, tasks) for name, task in tasks.items() if isinstance(task, BinaryTask)}
    return {name: chain for name, chain in chains.items() if chain}


def _ancestors(task: BinaryTask, tasks: Mapping[str, Task]) -> tuple[str, ...]:
    chain: list[str] = []
    parent = task.given
    while parent is not None:
        if parent in (task.name, *chain):
            raise DataError(f"label {parent!r} is given itself", fix="let the chain of `given` end")
        stage = tasks.get(parent)
        if not isinstance(stage, BinaryTask):
            return ()
        chain.append(parent)
        parent = stage.given
    return tuple(chain)


def with_joint_heads(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Add to each later stage of a funnel the head of its joint probability.

    It is called ``<given>_<name>``; that of ``cvr`` given ``ctr`` has a name of its own in the field, ``ctcvr``.

    Raises:
        DataError: When another head has that name.
    """
    chains = funnels({task.name: task for task in tasks})
    served = tuple(
        task.model_copy(update={"joint": _joint_name(task)})
        if isinstance(task, BinaryTask) and task.name in chains
        else task
        for task in tasks
    )
    counts = Counter(head.name for task in served for head in heads_of(task))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"two heads would be called {twice[0]!r}", fix="rename the label that has this name")
    return served


def _joint_name(task: BinaryTask) -> str:
    return "ctcvr" if (task.given, task.name) == ("ctr", "cvr") else f"{task.given}_{task.name}"


def joint_label(stages: Sequence[str], labels: Mapping[str, Tensor]) -> Tensor:
    """Give the label of "all these happened", ``[N]``: 1, 0, or NaN where it is not known.

    One stage that did not happen settles it, so rows that a later stage never reached (NaN in the data) are 0.
    """
    label_KN = torch.stack([labels[name] for name in stages])
    all_N = (label_KN == 1).all(dim=0)
    known_N = all_N | (label_KN == 0).any(dim=0)
    return torch.where(known_N, all_N.to(label_KN.dtype), torch.full_like(label_KN[0], math.nan))


def log_joint(logit_KN: Tensor) -> Tensor:
    """Give the log of the probability that every stage happens, ``[N]``: ``sum_k log sigmoid(z_k)``."""
    return F.logsigmoid(logit_KN).sum(dim=0)


def log_not_joint(logit_KN: Tensor) -> Tensor:
    """Give the log of the probability that some stage does not happen, ``[N]``.

    The chain stops at exactly one stage, so it is a log-sum-exp over "all before k happened, and k did not".
    ``log(1 - exp(log_joint(z)))`` is the same number, but rounds to log(0) where all stages are nearly sure; clamping
    that would give rows that are wrong and sure of it no gradient.
    """
    happened_KN = F.logsigmoid(logit_KN)
    before_KN = torch.cat([torch.zeros_like(happened_KN[:1]), happened_KN[:-1].cumsum(dim=0)])
    return torch.logsumexp(before_KN + F.logsigmoid(-logit_KN), dim=0)


def joint_bce(logit_KN: Tensor, target_N: Tensor) -> Tensor:
    """Give the cross-entropy of the joint event from the logits of its K stages, ``[N]``.

    Finite, with finite gradients, for every finite float32 logit of a network.
    """
    return -(target_N * log_joint(logit_KN) + (1.0 - target_N) * log_not_joint(logit_KN))


def joint_row_loss(stages: Sequence[str], raw: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> RowLoss:
    """Give the cross-entropy of "all these happened" over all rows on which that is known.

    Args:
        stages: K tasks, the whole chain.
        raw: Task to its conditional logit, ``[N, 1]``.
        labels: Label to ``[N]``, NaN where not defined.
    """
    label_N = joint_label(stages, labels)
    defined_N = torch.isfinite(label_N)
    logit_KN = torch.stack([raw[name][:, 0] for name in stages])
    return RowLoss(values=joint_bce(logit_KN, torch.nan_to_num(label_N)), defined=defined_N)


def conditional_logit(joint_N: Tensor, parent_N: Tensor) -> Tensor:
    """Give the logit of P(joint) / P(parent) from the logits j and p of both, ``[N]``.

    It is ``j + softplus(-p) - log(1 - exp(j - p))``. Written with log-sigmoids it would be as right in torch, but the
    ONNX exporter turns those into the log of a sigmoid, which has no digits left where the network is sure.

    A joint event is part of its parent's; where a network says otherwise, the quotient stops just under 1.
    """
    gap_N = torch.clamp(parent_N - joint_N, min=_GAP)
    return parent_N - gap_N + F.softplus(-parent_N) - torch.log(1.0 - torch.exp(-gap_N))


class TaskNetworks(nn.Module):
    """One network a task over shared embeddings: an MLP and a tower each, their first layers one factored product.

    Args:
        features: Gives the widths of both sides.
        widths: Name of each network and its raw outputs.
        hidden: Widths of each MLP.
        tower_hidden: Widths of each tower.
        dropout: Share of units dropped in training.
    """

    def __init__(
        self,
        features: Features,
        widths: Mapping[str, int],
        hidden: Sequence[int],
        tower_hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.bodies = Experts(features, len(widths), hidden, dropout)
        self.towers = nn.ModuleDict(
            {name: tower(hidden[-1], tower_hidden, dropout, out=width) for name, width in widths.items()}
        )

    def forward(self, u_RU: Tensor, c_NC: Tensor, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give each network's raw outputs, ``[N, W]``."""
        h_NTH = self.bodies(u_RU, c_NC, inputs.request_index)
        return {name: top(h_NTH[:, position]) for position, (name, top) in enumerate(self.towers.items())}
