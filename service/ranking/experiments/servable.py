"""Whether what arms change can be served on this process, now."""

from collections.abc import Mapping
from typing import Any

from contract.errors import FormulaError
from contract.features import AnyField, Vector
from service.errors import NotFound, NotReady, ProfileMismatch
from service.ports import FusionSource, ModelCatalog, Scorer, ServedModel

__all__ = ["FALLBACKS", "Servable"]

FALLBACKS = {
    "model": "its model is not served",
    "fields": "its model does not take every field that the other one takes",
    "profile": "its profile does not exist, or does not fit the model",
    "weights": "the profile has not its weights, or not with such values",
    "request_weights": "the request gives weights that its profile does not have",
    "other_arm": "another arm has changed what it builds on",
}
"""Why an arm cannot be served: label of the metric, and what is the matter."""

_MAX_REMEMBERED = 1_000


class Servable:
    """Holds a profile, a model and weights against what is there; what cost time once is remembered.

    Args:
        catalog: The models that are served.
        fusions: The profiles in force.
    """

    def __init__(self, *, catalog: ModelCatalog, fusions: FusionSource) -> None:
        self._catalog = catalog
        self._fusions = fusions
        self._allowed: dict[tuple[tuple[str, float], ...], Scorer] = {}
        self._taken: dict[tuple[str, int, str, int], bool] = {}

    def model(self, name: str | None) -> ServedModel:
        """Give a served model; see :meth:`service.ports.ModelCatalog.current`."""
        return self._catalog.current(name)

    def model_names(self) -> list[str]:
        """Give the names of the served models."""
        return [model.manifest.name for model in self._catalog.all()]

    def problem(
        self, *, profile: str, model: str, instead_of: str, weights: Mapping[str, float], also: Mapping[str, float]
    ) -> str:
        """Say why it cannot be, as a key of :data:`FALLBACKS`; "" where it can.

        Args:
            instead_of: The model that was asked for.
            weights: Of the arms.
            also: Of the request, where they have to fit this profile.
        """
        try:
            served = self._catalog.current(model)
            if model != instead_of and not self._takes_all(served, self._catalog.current(instead_of)):
                return "fields"
        except (NotFound, NotReady):
            return "model"
        try:
            fusion = self._fusions.current(profile, served).fusion
        except (NotFound, ProfileMismatch):
            return "profile"
        if not self._allows(fusion, weights):
            return "weights"
        return "" if self._allows(fusion, also) else "request_weights"

    def _allows(self, fusion: Scorer, weights: Mapping[str, float]) -> bool:
        """Tell whether a fusion has these weights with such values."""
        key = tuple(weights.items())
        if not key or self._allowed.get(key) is fusion:
            return True
        try:
            fusion.check_weights(weights)
        except FormulaError:
            return False
        if len(self._allowed) >= _MAX_REMEMBERED:
            self._allowed.clear()
        self._allowed[key] = fusion
        return True

    def _takes_all(self, model: ServedModel, other: ServedModel) -> bool:
        """Tell whether a model takes every request that another one takes."""
        key = (model.manifest.name, model.version, other.manifest.name, other.version)
        if key not in self._taken:
            own, asked = (map(_taken, each.manifest.features.fields) for each in (model, other))
            self._taken[key] = set(asked) <= set(own)
        return self._taken[key]


def _taken(field: AnyField) -> tuple[Any, ...]:
    """Give what tells whether a value fits a field: one value of a type, a list of them, or so many numbers."""
    kind = "one" if field.kind in ("categorical", "hashed") else field.kind
    dim = field.dim if isinstance(field, Vector) else None
    return field.side, field.name, kind, getattr(field, "dtype", "number"), dim
