"""Tiny rankers: two sides, a funnel of three tasks, few units, and weights that stand nowhere special."""

import numpy as np
import onnx
import torch

from contract.features import Categorical, FeatureSchema, LogStandard, Numeric, Sequence, Standard
from contract.tasks import BinaryTask, DurationTask
from training.export import ServingModule, export_graph, input_specs, random_inputs
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.registry import build_model

FUNNEL = (BinaryTask(name="click"), BinaryTask(name="like", given="click"), DurationTask(name="stay", given="click"))
# No hidden layer in the towers: so few units might all be switched off, and then every formula would hold.
SIZES = {"embedding_dim": 4, "hidden": (8, 5), "tower_hidden": (), "num_experts": 3, "dropout": 0.0}


def both_sides() -> FeatureSchema:
    """Ids, a history and a number of the request; ids and a number of the candidate."""
    return FeatureSchema(
        fields=(
            Categorical(name="device", side="request", dtype="string", table="device"),
            Sequence(name="history", side="request", dtype="string", table="item", max_length=3),
            Numeric(name="activity", side="request", scaling=LogStandard(mean=0, std=1)),
            Categorical(name="item", side="candidate", dtype="string", table="item"),
            Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
        ),
        vocabularies={"device": ("phone", "tv"), "item": ("a", "b", "c")},
    )


def candidates_only() -> FeatureSchema:
    """One id of the candidate and nothing of the request."""
    return FeatureSchema(
        fields=(Categorical(name="item", side="candidate", dtype="int", table="item"),), vocabularies={"item": (1, 2)}
    )


def tiny(name, *, tasks=FUNNEL, schema=None, seed=0, **sizes):
    """Build an architecture with small sizes; *sizes* override them."""
    torch.manual_seed(seed)
    return build_model(name, schema or both_sides(), tasks, ModelConfig(**{**SIZES, **sizes}))


def shaken(model, *, seed=1):
    """Move every weight, so that no formula holds only because something starts at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def some_inputs(*, schema=None, requests=2, candidates=7, seed=0):
    """Give encoded rows, ids beyond their tables among them."""
    return as_tensors(random_inputs(schema or both_sides(), requests, candidates, np.random.default_rng(seed)))


def some_labels(candidates=7):
    """Give labels of the funnel: like and stay only where there was a click."""
    click = torch.tensor([1.0, 0.0] * candidates)[:candidates]
    nan = torch.full_like(click, float("nan"))
    like = torch.where(click == 1, (torch.arange(candidates) % 4 == 0).float(), nan)
    stay = torch.where(click == 1, 3.0 + torch.arange(candidates), nan)
    return {"click": click, "like": like, "stay": stay}


def joined(model, inputs):
    """Give what an ordinary trainer would read, ``[N, U + C]``: each candidate beside its request."""
    u, c = model.features(inputs)
    return torch.cat([u[inputs.request_index], c], dim=1)


def joined_layer(layer):
    """Give a factored layer as one: weights ``[U + C, H]`` and bias ``[H]``."""
    sides = [side for side in (layer.request, layer.candidate) if side is not None]
    return torch.cat([side.weight for side in sides], dim=1).T, sides[0].bias


def count_parameters(module) -> int:
    """Count the weights of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def gradients(model, loss) -> dict[str, torch.Tensor]:
    """Give the gradient of every weight by name; zeros where *loss* does not depend on it."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    dense = [None if each is None else each.to_dense() for each in found]
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), dense, strict=True)
    }


def export_of(model, schema, path):
    """Export a ranker, which compares it with torch at every served size, and give the graph."""
    module = ServingModule(model, list(model.task_specs.values()), [spec.name for spec in input_specs(schema)])
    export_graph(module, schema, path)
    return onnx.load(path).graph
