"""What an architecture costs beside a shared-bottom: weights, and multiply-adds a candidate, counted on one problem.

The problem is always the same: 24 request fields, 16 candidate fields, 500 candidates of one request, 4 binary tasks,
and the sizes that :class:`training.models.base.ModelConfig` has by default. The request's share of the work is thus
spread over 500 candidates, as it is when one list is ranked. What is made of weights alone (a product of two factors,
a folded normalisation) does not count: it is constant, and the runtime folds it once when it loads a graph.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from contract.features import AnyField, Categorical, FeatureSchema, Hashed, Numeric, Sequence, Side, Standard
from contract.frozen import Frozen
from contract.tasks import BinaryTask
from training.export import random_inputs
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.registry import build_model

__all__ = ["BASELINE", "Cost", "cost_of", "reference_schema", "reference_tasks"]

BASELINE = "shared_bottom"
CANDIDATES = 500
_ROWS = 8
_VOCABULARY = 50
_BUCKETS = 10_000


class Cost(Frozen):
    """What an architecture costs on the reference problem.

    Args:
        parameters: Dense weights, all that is no embedding table.
        table_parameters: Weights of embedding tables.
        multiply_adds: Of matrix products, a candidate; what is done once a request is spread over its 500 candidates.
    """

    parameters: int
    table_parameters: int
    multiply_adds: float

    def relative_to(self, baseline: "Cost") -> dict[str, float]:
        """Give each number as a multiple of the baseline's."""
        mine, theirs = self.model_dump(), baseline.model_dump()
        return {name: mine[name] / theirs[name] for name in mine}


def cost_of(name: str, options: Mapping[str, Any] | None = None) -> Cost:
    """Count an architecture's cost as it is served, without dropout and drawing no random switches.

    Args:
        name: Of the architecture.
        options: Its own options; the defaults where not given.

    Raises:
        UnknownArchitecture: When there is none of this name.
        InvalidOption: When it has no such option.
    """
    schema, config = reference_schema(), ModelConfig(options=dict(options or {}))
    model = build_model(name, schema, reference_tasks(), config).eval()
    total = sum(parameter.numel() for parameter in model.parameters())
    tables = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Embedding))
    # The work is a constant, so much a request and so much a candidate: three counts tell these apart.
    once = _multiply_adds(model, schema, requests=1, candidates=_ROWS)
    a_request = _multiply_adds(model, schema, requests=2, candidates=_ROWS) - once
    a_candidate = _multiply_adds(model, schema, requests=1, candidates=_ROWS + 1) - once
    return Cost(parameters=total - tables, table_parameters=tables, multiply_adds=a_candidate + a_request / CANDIDATES)


def _multiply_adds(model: nn.Module, schema: FeatureSchema, *, requests: int, candidates: int) -> int:
    inputs = as_tensors(random_inputs(schema, requests, candidates, np.random.default_rng(0)))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs)
    return int(counter.get_total_flops()) // 2


def reference_tasks() -> tuple[BinaryTask, ...]:
    """Give the four tasks."""
    return tuple(BinaryTask(name=name) for name in ("click", "like", "follow", "share"))


def reference_schema() -> FeatureSchema:
    """Give 24 request and 16 candidate fields: ids of an open set, a history, categories and numbers.

    A user id, a history of 10 items, 14 categories and 8 numbers; an item id, 9 categories and 6 numbers.
    """
    item = Hashed(name="item", side="candidate", dtype="int", table="item", buckets=_BUCKETS)
    history = Sequence(name="history", side="request", dtype="int", table="item", max_length=10)
    user = Hashed(name="user", side="request", dtype="int", table="user", buckets=_BUCKETS)
    fields = (user, history, *_plain("request", 14, 8), item, *_plain("candidate", 9, 6))
    tables = [field.table for field in fields if isinstance(field, Categorical)]
    return FeatureSchema(fields=fields, vocabularies={table: tuple(range(_VOCABULARY)) for table in tables})


def _plain(side: Side, categories: int, numbers: int) -> tuple[AnyField, ...]:
    names = [f"{side}_category_{index}" for index in range(categories)]
    scaling = Standard(mean=0.0, std=1.0)
    return (
        *(Categorical(name=name, side=side, dtype="int", table=name) for name in names),
        *(Numeric(name=f"{side}_number_{index}", side=side, scaling=scaling) for index in range(numbers)),
    )
