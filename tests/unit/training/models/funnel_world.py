"""A tiny funnel, impression to click to conversion to payment, for the tests of the models that read one."""

import numpy as np
import torch

from contract.features import Categorical, FeatureSchema, Numeric, Standard
from contract.tasks import BinaryTask, DurationTask
from training.export import random_inputs
from training.inputs import TensorInputs, as_tensors
from training.losses import mean_loss
from training.models.base import ModelConfig, MultiTaskModel
from training.models.registry import build_model

NAN = float("nan")
CTR = BinaryTask(name="ctr")
CVR = BinaryTask(name="cvr", given="ctr")
PAID = BinaryTask(name="paid", given="cvr")
WATCH = DurationTask(name="watch", given="ctr")
CONFIG = ModelConfig(embedding_dim=3, hidden=(5, 4), tower_hidden=(3,), dropout=0.0)

# A row each: not clicked, clicked, converted, paid.
LABELS = {
    "ctr": [0.0, 1.0, 1.0, 1.0],
    "cvr": [NAN, 0.0, 1.0, 1.0],
    "paid": [NAN, NAN, 0.0, 1.0],
    "watch": [NAN, 3.0, 40.0, 7.0],
}


def schema() -> FeatureSchema:
    return FeatureSchema(
        fields=(
            Categorical(name="user", side="request", dtype="int", table="user"),
            Categorical(name="item", side="candidate", dtype="int", table="item"),
            Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
        ),
        vocabularies={"user": (1, 2), "item": (1, 2, 3)},
    )


def model(arch: str, tasks=(CTR, CVR), *, seed: int = 0, config: ModelConfig = CONFIG, **options) -> MultiTaskModel:
    """Give a model with a fixed seed, in evaluation mode."""
    torch.manual_seed(seed)
    return build_model(arch, schema(), tasks, config.model_copy(update={"options": options})).eval()


def rows(count: int = 4, *, seed: int = 0) -> TensorInputs:
    return as_tensors(random_inputs(schema(), 2, count, np.random.default_rng(seed)))


def labels(**changed) -> dict[str, torch.Tensor]:
    """Give the four rows' labels, some replaced."""
    return {name: torch.tensor(values) for name, values in (LABELS | changed).items()}


def losses(model: MultiTaskModel, raw, labels) -> dict[str, torch.Tensor]:
    """Give each task's loss of a batch, as the trainer takes it."""
    return {name: mean_loss(row) for name, row in model.row_losses(raw, labels, rows()).items()}


def logits(**values) -> dict[str, torch.Tensor]:
    """Give raw outputs that a gradient can be taken of: name to ``[N, 1]``."""
    return {name.replace("__", ":"): torch.tensor(v).reshape(-1, 1).requires_grad_() for name, v in values.items()}


def parameter_count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
