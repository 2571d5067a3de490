"""A trained model on disk: all that an export needs, and nothing that runs code when it is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.tasks import Head, Task
from training.config import TrainConfig
from training.errors import CheckpointError
from training.models.base import MultiTaskModel
from training.models.registry import build_model

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


class _Document(Frozen):
    config: TrainConfig
    features: FeatureSchema
    tasks: tuple[Task, ...]
    heads: tuple[Head, ...]
    history: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model with its best weights.

    Args:
        features: As fitted on the training split.
        tasks: With their debiasing fitted.
        heads: With their calibration fitted.
        history: Losses of every epoch, as the report shows them.
    """

    config: TrainConfig
    features: FeatureSchema
    tasks: tuple[Task, ...]
    heads: tuple[Head, ...]
    history: tuple[dict[str, Any], ...]
    model: MultiTaskModel


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint beside its place and rename it, so that a broken run leaves the old one."""
    document = _Document(
        config=checkpoint.config,
        features=checkpoint.features,
        tasks=checkpoint.tasks,
        heads=checkpoint.heads,
        history=checkpoint.history,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    torch.save({"document": document.model_dump_json(), "weights": checkpoint.model.state_dict()}, draft)
    draft.rename(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; only tensors and text are read, no pickled code.

    Raises:
        CheckpointError: When the file is missing or is no checkpoint of this release.
    """
    try:
        stored = torch.load(path, weights_only=True)
        document = _Document.model_validate_json(stored["document"])
        model = build_model(document.config.arch, document.features, document.tasks, document.config.model)
        model.load_state_dict(stored["weights"])
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist", fix="write one with `fulcrum train --checkpoint`") from None
    except (ValidationError, KeyError, TypeError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise CheckpointError(f"{path} is no checkpoint of this release: {error}", fix="train again") from error
    except Exception as error:
        if type(error).__module__ not in ("_pickle", "pickle"):
            raise
        raise CheckpointError(f"{path} is no checkpoint", fix="train again") from error
    model.eval()
    return Checkpoint(
        config=document.config,
        features=document.features,
        tasks=document.tasks,
        heads=document.heads,
        history=document.history,
        model=model,
    )
