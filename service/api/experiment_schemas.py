"""The documents of the routes for experiments: bodies that operators send, and what they get."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.api.fusion_schemas import ConvergenceDocument, HistoryEntry, Reason
from service.ranking.experiments.documents import Layer

__all__ = ["AssignmentList", "LayerBody", "LayerHistory", "LayerList", "LayerState"]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class LayerBody(Layer):
    """A new state of a layer, whole."""

    reason: Reason = ""

    def layer(self) -> Layer:
        """Give it without the reason."""
        return Layer.model_validate(self.model_dump(exclude={"reason"}))


class LayerState(_Document):
    """A layer as it stands."""

    layer: str
    revision: int
    sequence: int
    author: str
    reason: str
    action: str
    created_at: str
    document: Layer | None = Field(description="What was written; null where it was taken away.")
    buckets: dict[str, list[list[int]]] = Field(
        description="Of 10,000, who has which: ranges [start, end) by experiment, in the order a ramp takes them in."
    )
    stale: str = Field("", description="Why the newest revision cannot be read; empty where this one is the newest.")
    convergence: ConvergenceDocument | None = None


class LayerList(_Document):
    """All layers as they stand."""

    layers: list[LayerState]


class LayerHistory(_Document):
    """Revisions of a layer, newest first."""

    layer: str
    revisions: list[HistoryEntry]
    next_before: int | None = Field(description="Send it as `before` for the next page; null at the end.")


class AssignmentEntry(_Document):
    """Where a unit is in a layer."""

    layer: str
    unit: str = Field(description="Name of the value that the layer assigns by.")
    bucket: int | None = Field(description="Of the unit, 0 to 9999.")
    experiment: str | None
    arm: str | None
    propensity: float | None
    shadow: bool
    note: str = Field(description="Why the unit is in nothing; empty where it is in something.")


class AssignmentList(_Document):
    """Where units are in every layer that somebody can be in."""

    units: dict[str, Any]
    assignments: list[AssignmentEntry]
