"""Where a unit is in every layer, and why it is nowhere: for operators who wonder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.ports import Exposure
from service.ranking.experiments.hashing import unit_bytes
from service.ranking.experiments.placing import Place, PlacingLayer, is_arm, nested

__all__ = ["LayerPlace", "explain", "units_of"]


@dataclass(frozen=True, kw_only=True)
class LayerPlace:
    """Where a unit is in a layer.

    Args:
        bucket: Of the unit; None where it names none or is not of the layer's domain.
        exposure: None where it is in nothing.
        note: Why it is in nothing; "" where it is in something.
    """

    layer: str
    unit: str
    bucket: int | None = None
    exposure: Exposure | None = None
    note: str = ""


def explain(layers: Sequence[PlacingLayer], units: Mapping[str, str], now: datetime) -> list[LayerPlace]:
    """Say where units are, whatever profile and model a request of theirs would ask for.

    Args:
        layers: Each behind the one it is within.
        units: Values by the names that layers assign by.
    """
    places: dict[str, Place] = {}
    return [_explained(layer, units, now, places) for layer in layers]


def units_of(layers: Iterable[PlacingLayer]) -> list[str]:
    """Give the names of the values that layers assign by."""
    return sorted({layer.unit for layer in layers})


def _explained(layer: PlacingLayer, units: Mapping[str, str], now: datetime, places: dict[str, Place]) -> LayerPlace:
    within, name = layer.within, layer.name
    parent = places.get(within.layer) if within else None
    if within is not None and (parent is None or not is_arm(parent, within)):
        note = f"not in arm {within.arm!r} of {within.experiment!r} of layer {within.layer!r}"
        return LayerPlace(layer=name, unit=layer.unit, note=note)
    unit = unit_bytes(units.get(layer.unit))
    if unit is None:
        return LayerPlace(layer=name, unit=layer.unit, note=f"no value for {layer.unit!r} was given")
    bucket, place = layer.bucket(unit), layer.place(unit, now)
    if place is None:
        note = "its bucket is free, or its experiment is not open to it now"
        return LayerPlace(layer=name, unit=layer.unit, bucket=bucket, note=note)
    places[name] = nested(place, parent.exposure.propensity) if parent else place
    return LayerPlace(layer=name, unit=layer.unit, bucket=bucket, exposure=places[name].exposure)
