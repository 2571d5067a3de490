"""Architectures by name: one dict, one decorator, a duplicate raises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contract.features import FeatureSchema
from contract.tasks import Task
from training.errors import UnknownArchitecture
from training.models.base import ModelConfig, MultiTaskModel
from training.options import validated

__all__ = ["Architecture", "architectures", "build_model", "find_architecture", "register"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An entry of the registry.

    Args:
        title: Name, authors and venue.
        link: Of the paper; "" where there is none.
    """

    name: str
    title: str
    link: str
    model: type[MultiTaskModel]


_ARCHITECTURES: dict[str, Architecture] = {}


def register(name: str, *, title: str, link: str) -> Callable[[type[MultiTaskModel]], type[MultiTaskModel]]:
    """Enter a class under *name*.

    Raises:
        ValueError: When the name is taken.
    """

    def enter(model: type[MultiTaskModel]) -> type[MultiTaskModel]:
        if name in _ARCHITECTURES:
            msg = f"architecture {name!r} is registered twice"
            raise ValueError(msg)
        _ARCHITECTURES[name] = Architecture(name=name, title=title, link=link, model=model)
        return model

    return enter


def architectures() -> dict[str, Architecture]:
    """Give every architecture by name, sorted."""
    return dict(sorted(_ARCHITECTURES.items()))


def find_architecture(name: str) -> Architecture:
    """Give one architecture.

    Raises:
        UnknownArchitecture: Naming those that exist.
    """
    if name not in _ARCHITECTURES:
        raise UnknownArchitecture(f"there is no architecture {name!r}", fix=f"known: {', '.join(architectures())}")
    return _ARCHITECTURES[name]


def build_model(name: str, schema: FeatureSchema, tasks: Sequence[Task], config: ModelConfig) -> MultiTaskModel:
    """Build an architecture.

    Args:
        tasks: As declared, fitted; the model's ``task_specs`` has those that it serves.

    Raises:
        UnknownArchitecture: Naming those that exist.
        InvalidOption: When the architecture has no such option, or its value is out of range.
    """
    architecture = find_architecture(name)
    validated(architecture.model.Options, config.options, owner=architecture.name)
    return architecture.model(schema, tasks, config)
