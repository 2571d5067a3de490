"""Layers within arms of other layers."""

from collections.abc import Mapping

from service.errors import InvalidExperiment
from service.ranking.experiments.documents import Arm, Experiment, Layer, Within

__all__ = ["in_order", "refuse_domains"]


def in_order(layers: Mapping[str, Layer]) -> list[str]:
    """Give the names of layers, each behind the one it is within; leave out who is within itself or within nothing."""
    ordered: list[str] = []
    waiting = sorted(layers)
    while ready := [name for name in waiting if _is_ready(layers[name], ordered)]:
        ordered += ready
        waiting = [name for name in waiting if name not in ready]
    return ordered


def _is_ready(layer: Layer, ordered: list[str]) -> bool:
    return layer.within is None or layer.within.layer in ordered


def refuse_domains(layers: Mapping[str, Layer], written: str) -> None:
    """Refuse a layer whose own domain, or the domain of one within it, cannot be.

    Args:
        layers: All, with the written one; without it where it is taken away.

    Raises:
        InvalidExperiment: Naming the domain and what is wrong with it.
    """
    for name, layer in sorted(layers.items()):
        if layer.within is not None and written in (name, layer.within.layer):
            experiment, arm = _domain(layers, name, layer.within)
            for position, own in enumerate(layer.experiments):
                _refuse_unreachable(name, position, own, experiment, arm)
    if written in layers and written not in in_order(layers):
        raise InvalidExperiment(
            f"layer {written!r} is within itself, through other layers", fix="break the circle", path="/within"
        )


def _domain(layers: Mapping[str, Layer], name: str, within: Within) -> tuple[Experiment, Arm]:
    place = f"arm {within.arm!r} of {within.experiment!r} of layer {within.layer!r}"
    parent = layers.get(within.layer)
    experiment = parent.experiment(within.experiment) if parent else None
    arm = experiment.arm(within.arm) if experiment else None
    if experiment is None or arm is None:
        raise InvalidExperiment(
            f"layer {name!r} is within {place}, which there is not",
            fix="name an arm that there is, or take that layer away first",
            path="/within",
        )
    if arm.shadow:
        raise InvalidExperiment(
            f"layer {name!r} is within {place}, a shadow that answers nobody", fix="take another arm", path="/within"
        )
    return experiment, arm


def _refuse_unreachable(name: str, position: int, own: Experiment, above: Experiment, arm: Arm) -> None:
    profile, model = arm.profile or above.on.profile, arm.model or above.on.model
    if own.on.profile != profile or (own.on.model is not None and model not in (None, own.on.model)):
        raise InvalidExperiment(
            f"{own.name!r} of layer {name!r} is on requests that never come to arm {arm.name!r} of {above.name!r}",
            fix=f"put it on {{'profile': {profile!r}, 'model': {model!r}}}, which that arm ranks by",
            path=f"/experiments/{position}/on",
        )
