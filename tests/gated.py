"""What the tests of gated models share: small schemas, inputs, and experts computed the long way, one by one."""

import numpy as np
import torch

from contract.features import Categorical, FeatureSchema, LogStandard, Numeric, Sequence, Standard
from contract.tasks import BinaryTask
from training.export import random_inputs
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.registry import build_model

TASKS = tuple(BinaryTask(name=name) for name in ("click", "like", "share"))
DIM = 4


def both_sides():
    """U = 2·4 + 1 = 9, C = 4 + 1 = 5."""
    return FeatureSchema(
        fields=(
            Categorical(name="device", side="request", dtype="string", table="device"),
            Sequence(name="history", side="request", dtype="string", table="item", max_length=3),
            Numeric(name="activity", side="request", scaling=LogStandard(mean=0, std=1)),
            Categorical(name="item", side="candidate", dtype="string", table="item"),
            Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
        ),
        vocabularies={"device": ("phone", "tv"), "item": ("a", "b", "c", "d", "e")},
    )


WIDTH = 9 + 5


def candidates_only():
    return FeatureSchema(
        fields=(Categorical(name="item", side="candidate", dtype="int", table="item"),), vocabularies={"item": (1, 2)}
    )


def some_inputs(requests=2, candidates=6, *, schema=None, seed=0):
    return as_tensors(random_inputs(schema or both_sides(), requests, candidates, np.random.default_rng(seed)))


def make(arch, *, tasks=TASKS, schema=None, seed=0, hidden=(6, 5), num_experts=2, dropout=0.0, **options):
    torch.manual_seed(seed)
    config = ModelConfig(
        embedding_dim=DIM, hidden=hidden, tower_hidden=(3,), num_experts=num_experts, dropout=dropout, options=options
    )
    return build_model(arch, schema or both_sides(), tasks, config)


def scattered(model, seed=1):
    """Give every weight a random value: gates are no longer uniform, nothing is zero."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def joined(features, inputs):
    """Both sides as ordinary models read them, ``[N, U + C]``."""
    u, c = features(inputs)
    return torch.cat([u[inputs.request_index], c], dim=1)


def affine(factored):
    """Weight ``[out, U + C]`` and bias of a factored layer."""
    return torch.cat([factored.request.weight, factored.candidate.weight], dim=1), factored.request.bias


def first_level_experts(experts, x, width=6):
    """Each expert of :class:`training.models.layers.Experts` by itself: a list of ``[N, H]``."""
    weight, bias = affine(experts.first)
    first = [torch.relu(x @ rows.T + shift) for rows, shift in zip(weight.split(width), bias.split(width), strict=True)]
    return [_deeper(experts.deeper, e, h) for e, h in enumerate(first)]


def grouped_experts(experts, inputs, width=6):
    """Each expert of :class:`training.models.expert_groups.GroupedExperts`, given one input a group, ``[N, in]``."""
    found = []
    for g, x in enumerate(inputs):
        weight, bias = stacked(experts.first, g)
        for m in range(experts.per_group):
            columns = slice(m * width, (m + 1) * width)
            found.append(_deeper(experts.deeper, len(found), torch.relu(x @ weight[:, columns] + bias[columns])))
    return found


def stacked(layer, position):
    """Weight ``[in, out]`` and bias of one layer of a stack, factored or not."""
    if hasattr(layer, "weight_EIO"):
        return layer.weight_EIO[position], layer.bias_E1O[position, 0]
    weight = torch.cat([layer.request_GUO[position], layer.candidate_GCO[position]], dim=0)
    return weight, layer.bias_G1O[position, 0]


def mixture(weights, experts):
    """``sum_e weights[:, e] · experts[e]``, one at a time."""
    return sum(weights[:, e : e + 1] * expert for e, expert in enumerate(experts))


def dense_parameters(model):
    """Parameters beside embedding tables."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if id(p) not in tables)


def tower_parameters(model):
    return sum(p.numel() for p in model.towers.parameters())


def expert_parameters(inputs, hidden=(6, 5)):
    """Of one MLP over so many inputs."""
    return (inputs + 1) * hidden[0] + (hidden[0] + 1) * hidden[1]


def _deeper(layers, position, h):
    for layer in layers:
        h = torch.relu(h @ layer.weight_EIO[position] + layer.bias_E1O[position, 0])
    return h
