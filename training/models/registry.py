"""Architectures by name: one dict, one decorator, a duplicate raises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contract.features import FeatureSchema
from training.errors import UnknownArchitecture
from training.models.base import ModelConfig, MultiTaskModel

__all__ = ["Architecture", "architectures", "build_model", "register"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An entry of the registry."""

    name: str
    title: str
    model: type[MultiTaskModel]


_ARCHITECTURES: dict[str, Architecture] = {}


def register(name: str, *, title: str) -> Callable[[type[MultiTaskModel]], type[MultiTaskModel]]:
    """Enter a class under *name*.

    Raises:
        ValueError: When the name is taken.
    """

    def enter(model: type[MultiTaskModel]) -> type[MultiTaskModel]:
        if name in _ARCHITECTURES:
            msg = f"architecture {name!r} is registered twice"
            raise ValueError(msg)
        _ARCHITECTURES[name] = Architecture(name=name, title=title, model=model)
        return model

    return enter


def architectures() -> dict[str, Architecture]:
    """Give every architecture by name, sorted."""
    return dict(sorted(_ARCHITECTURES.items()))


def build_model(name: str, schema: FeatureSchema, tasks: Sequence[str], config: ModelConfig) -> MultiTaskModel:
    """Build an architecture.

    Raises:
        UnknownArchitecture: Naming those that exist.
    """
    if name not in _ARCHITECTURES:
        raise UnknownArchitecture(f"there is no architecture {name!r}", fix=f"known: {', '.join(architectures())}")
    return _ARCHITECTURES[name].model(schema, tasks, config)
