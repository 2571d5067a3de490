"""Experiments that would change the same thing for the same unit at the same time.

Layers split independently, so a unit is in one arm of each. That is sound only while layers change different things
(Tang et al., section 4); here the things are a profile, a model and each weight of a profile.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from service.errors import OverlappingExperiments
from service.ranking.experiments.documents import Arm, Experiment, Layer, On
from service.ranking.experiments.domains import in_order

__all__ = ["refuse_overlaps"]


@dataclass(frozen=True, kw_only=True)
class _Reach:
    """An experiment, and who can come to it.

    Args:
        domain: For each layer above, the experiment and the arm that a unit has to be in.
        asked: Which requests lead there: what the experiment is on, or the one at the top of its domain.
    """

    layer: str
    experiment: Experiment
    domain: Mapping[str, tuple[str, str]]
    asked: On
    opens_at: datetime
    closes_at: datetime

    def arms_beside(self, other: "_Reach") -> Iterable[Arm]:
        """Give the arms whose units can be in the other experiment too."""
        above = other.domain.get(self.layer)
        if above is None:
            return self.experiment.arms
        return [arm for arm in self.experiment.arms if (self.experiment.name, arm.name) == above]


def refuse_overlaps(layers: Mapping[str, Layer], written: str) -> None:
    """Refuse a layer of which an experiment overlaps with one of another layer.

    Args:
        layers: All, the written one among them.

    Raises:
        OverlappingExperiments: Naming both, and what both change.
    """
    reachable = {name: layers[name] for name in in_order(layers)}
    for first, second in combinations(_reaches(reachable), 2):
        if written in (first.layer, second.layer) and (shared := _shared(first, second)):
            raise OverlappingExperiments(
                f"{_called(first)} and {_called(second)} can reach the same unit at the same time, and {shared}",
                fix="put both into one layer, nest one within an arm of the other, or give them times that do not meet",
            )


def _reaches(layers: Mapping[str, Layer]) -> Iterator[_Reach]:
    for name, layer in sorted(layers.items()):
        chain = list(_chain(layers, layer))
        domain = {above: (experiment.name, arm) for above, experiment, arm in chain}
        for own in layer.experiments:
            experiments = [own, *(experiment for _, experiment, _ in chain)]
            yield _Reach(
                layer=name,
                experiment=own,
                domain=domain,
                asked=experiments[-1].on,
                opens_at=max(each.opens_at for each in experiments),
                closes_at=min(each.closes_at for each in experiments),
            )


def _chain(layers: Mapping[str, Layer], layer: Layer) -> Iterator[tuple[str, Experiment, str]]:
    """Give the layers above, from the nearest to the top, with the experiment and the arm that lead on."""
    while (within := layer.within) is not None:
        layer = layers[within.layer]
        experiment = layer.experiment(within.experiment)
        if experiment is None:
            return
        yield within.layer, experiment, within.arm


def _shared(first: _Reach, second: _Reach) -> str:
    """Say what both change; "" where they never meet or change different things."""
    if first.layer == second.layer or not _meet(first, second):
        return ""
    for one in _changes(first.experiment, first.arms_beside(second)):
        for two in _changes(second.experiment, second.arms_beside(first)):
            if said := one.clash(two):
                return said
    return ""


def _meet(first: _Reach, second: _Reach) -> bool:
    in_time = first.opens_at < second.closes_at and second.opens_at < first.closes_at
    above_both = first.domain.keys() & second.domain.keys()
    in_domain = all(first.domain[layer] == second.domain[layer] for layer in above_both)
    models = {first.asked.model, second.asked.model} - {None}
    return in_time and in_domain and first.asked.profile == second.asked.profile and len(models) < 2


@dataclass(frozen=True, kw_only=True)
class _Change:
    kind: str
    of: str
    weight: str = ""

    def clash(self, other: "_Change") -> str:
        """Say that both change the same; "" where they do not."""
        if self.of != other.of or (self.kind == "model") != (other.kind == "model"):
            return ""
        if self.kind == other.kind:
            if self.weight != other.weight:
                return ""
            what = f"the weight {self.weight!r} of profile" if self.weight else f"the {self.kind} of requests for"
            return f"both change {what} {self.of!r}"
        weight = self.weight or other.weight
        return f"one changes the weight {weight!r} of profile {self.of!r}, where the other puts another profile"


def _changes(experiment: Experiment, arms: Iterable[Arm]) -> Iterator[_Change]:
    for arm in arms:
        if arm.shadow:
            continue
        if arm.profile is not None:
            yield _Change(kind="profile", of=experiment.on.profile)
        if arm.model is not None:
            yield _Change(kind="model", of=experiment.on.model or "")
        for weight in arm.weights:
            yield _Change(kind="weight", of=arm.profile or experiment.on.profile, weight=weight)


def _called(reach: _Reach) -> str:
    return f"{reach.experiment.name!r} of layer {reach.layer!r}"
