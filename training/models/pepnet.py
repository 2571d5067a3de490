"""PEPNet: embeddings scaled by the domain, hidden units of each task scaled by who and what is ranked.

J. Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized Prior
Information", KDD 2023. https://arxiv.org/abs/2302.01115

Equations, sg being a stop of the gradient and g GateNU (:mod:`training.models.pepnet_layers`)::

    E'      = g([e_domain; sg(E)]) ∘ E              EPNet; E = [u; c]
    d^l     = g^l([e_prior; sg(E')])                one gate a layer, giving the scales of all tasks
    H_k^l   = relu(W_k^l H_k^(l-1) + b_k^l) ∘ d_k^l     PPNet; H_k^0 = E', task k's own network
    z_k     = w_k H_k^L + b_k

So gates read all features and train none of them, but for those of the domain and the prior (user, item, author),
whose vectors are the ones that E has too. All gates start at 1.

EPNet is split by side, so that a request's half is computed once a request: request columns are scaled by what the
request has, candidate columns by both sides through a factored first layer. The paper lets request columns depend on
the candidate as well, which would mean a request vector of its own for each candidate. PPNet's gates read both sides.

Shapes: u ``[R, U]``, c ``[N, C]``, H_k ``[N, H_l]``. Parameters, with V = U + C, D_u + D_c and P_u + P_c columns of
domain and prior, and G of ``gate_hidden``: ``(D_u + U + 1) G + (G + 1) U`` and ``(D_u + D_c + V + 1) G + (G + 1) C``
for EPNet, ``(P_u + P_c + V + 1) G + (G + 1) T H_l`` a layer for PPNet, T networks.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from contract.features import SIDES, Categorical, FeatureSchema
from contract.features import Sequence as SequenceField
from contract.frozen import Frozen
from contract.tasks import Task
from training.errors import InvalidOption
from training.heads.registry import head_of
from training.inputs import TensorInputs
from training.models.base import ModelConfig, MultiTaskModel
from training.models.dropout import Dropout
from training.models.layers import StackedLinear
from training.models.pepnet_layers import EmbeddingGates, UnitGates
from training.models.registry import register

__all__ = ["MOST_DOMAINS", "Pepnet", "PepnetOptions"]

MOST_DOMAINS = 64


class PepnetOptions(Frozen):
    """Options of PEPNet.

    Args:
        domain_fields: Fields that EPNet's gates read with a gradient; None takes the categorical request fields of 64
            values or fewer.
        prior_fields: Fields that PPNet's gates read with a gradient; None takes the id field of each side that has
            the largest table, which is the user's and the item's where the schema has them.
        gate_hidden: Width G of each gate's hidden layer.
    """

    domain_fields: tuple[str, ...] | None = None
    prior_fields: tuple[str, ...] | None = None
    gate_hidden: int = Field(default=32, ge=1)


@register("pepnet", title="PEPNet (Chang et al., KDD 2023)", link="https://arxiv.org/abs/2302.01115")
class Pepnet(MultiTaskModel):
    """Gated embeddings under gated task networks."""

    Options = PepnetOptions

    def __init__(self, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> None:
        super().__init__(schema, tasks, config)
        self.options = PepnetOptions(**config.options)
        self.domain_fields = _checked(schema, self.options.domain_fields, _domains(schema))
        self.prior_fields = _checked(schema, self.options.prior_fields, _largest(schema))
        hidden, count, widths = self.options.gate_hidden, len(self.tasks), (*config.hidden, *config.tower_hidden)
        self.epnet = EmbeddingGates(self.features, self.domain_fields, hidden)
        self.ppnet = UnitGates(self.features, self.prior_fields, hidden, [count * width for width in widths])
        self.first = self.features.first_layer(count * widths[0])
        self.deeper = nn.ModuleList(StackedLinear(count, a, b) for a, b in pairwise(widths))
        self.dropout = Dropout(config.dropout)
        out = {name: head_of(task).raw_width for name, task in self.task_specs.items()}
        self.towers = nn.ModuleDict({name: nn.Linear(widths[-1], width) for name, width in out.items()})

    def forward(self, inputs: TensorInputs) -> dict[str, Tensor]:
        """Give one raw output a task, ``[N, W]``."""
        index = inputs.request_index
        raw_u_RU, raw_c_NC = self.features(inputs)
        u_RU, c_NC = self.epnet(raw_u_RU, raw_c_NC, index)
        scales = [self._by_task(scale) for scale in self.ppnet(raw_u_RU, raw_c_NC, u_RU, c_NC, index)]
        x_TNH = self.dropout(torch.relu(self._by_task(self.first(u_RU, c_NC, index))) * scales[0])
        for layer, scale_TNH in zip(self.deeper, scales[1:], strict=True):
            x_TNH = self.dropout(torch.relu(layer(x_TNH)) * scale_TNH)
        return {task: self.towers[task](x_TNH[position]) for position, task in enumerate(self.tasks)}

    def task_modules(self) -> list[nn.Module]:
        """Give all layers of the tasks' networks: each row of theirs is one task's. Gates are shared."""
        return [self.first, self.deeper, self.towers]

    def _by_task(self, x_NX: Tensor) -> Tensor:
        """Split what lies side by side: ``[N, T H] → [T, N, H]``."""
        return x_NX.reshape(-1, len(self.tasks), x_NX.shape[1] // len(self.tasks)).transpose(0, 1)


def _checked(schema: FeatureSchema, chosen: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """Give the chosen fields, or the default where nothing was chosen."""
    if chosen is None:
        return default
    known = [field.name for field in schema.fields]
    if unknown := [name for name in chosen if name not in known]:
        raise InvalidOption(f"there is no field {unknown[0]!r}", fix=f"known: {', '.join(known)}")
    return chosen


def _domains(schema: FeatureSchema) -> tuple[str, ...]:
    """Name the categorical request fields that are small enough to be domains."""
    fields = [field for field in schema.ids_on("request") if isinstance(field, Categorical)]
    return tuple(field.name for field in fields if len(schema.vocabularies[field.table]) <= MOST_DOMAINS)


def _largest(schema: FeatureSchema) -> tuple[str, ...]:
    """Name the id field of each side that tells most rows apart."""
    by_side = [[field for field in schema.ids_on(side) if not isinstance(field, SequenceField)] for side in SIDES]
    return tuple(max(fields, key=lambda field: schema.table_size(field.table)).name for fields in by_side if fields)
