"""The experiments in force: read from the store, asked by every request without a lock."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from service.errors import UnknownLayer, UnreadableDocument
from service.ranking.experiments.allotment import AllottedLayer
from service.ranking.experiments.domains import in_order
from service.ranking.experiments.drawing import DrawnArms, Target, draw
from service.ranking.experiments.placing import PlacingLayer
from service.ranking.fusions import utc_now
from service.ranking.revising import read_document
from service.revisions import Revision

__all__ = ["DELETED", "FAMILY", "ExperimentBook", "LayerStanding", "read_layer"]

FAMILY = "experiments/"
DELETED = '{"deleted": true}'


@dataclass(frozen=True, kw_only=True)
class LayerStanding:
    """A layer as it stands: its newest revision that could be read."""

    revision: Revision
    allotted: AllottedLayer

    @property
    def layer_name(self) -> str:
        """Name of the layer."""
        return self.revision.name.removeprefix(FAMILY)


class ExperimentBook:
    """Answers "which arms?" from memory.

    Args:
        now: Time of day, against which windows and ramps are held.
    """

    family = FAMILY

    def __init__(self, *, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._standing: Mapping[str, LayerStanding] = {}
        self._placing: tuple[PlacingLayer, ...] = ()
        self._revisions: dict[str, Revision] = {}
        self._stale: dict[str, str] = {}
        self._applying = Lock()

    def apply(self, revision: Revision, *, replace: bool = False) -> None:
        """Put a revision in force, unless a newer one of its name is; called from any thread.

        Args:
            replace: Puts it in force whatever its number: a store that came back may have lost its last changes.

        Raises:
            UnreadableDocument: When it cannot be read; what stood before stays in force.
        """
        with self._applying:
            known = self._revisions.get(revision.name)
            if known is not None and known.sequence >= revision.sequence and not replace:
                return
            try:
                allotted = read_layer(revision)
            except UnreadableDocument as error:
                self._stale = {**self._stale, revision.name.removeprefix(FAMILY): error.detail}
                raise
            self._put(revision, allotted)

    def _put(self, revision: Revision, allotted: AllottedLayer | None) -> None:
        name = revision.name.removeprefix(FAMILY)
        others = {other: standing for other, standing in self._standing.items() if other != name}
        added = {} if allotted is None else {name: LayerStanding(revision=revision, allotted=allotted)}
        self._revisions[revision.name] = revision
        self._stale = {other: problem for other, problem in self._stale.items() if other != name}
        self._standing = {**others, **added}
        layers = {each: standing.allotted.layer for each, standing in self._standing.items()}
        placing = (PlacingLayer(each, self._standing[each].allotted) for each in in_order(layers))
        # One assignment: a request sees all layers as they were or as they are now.
        self._placing = tuple(layer for layer in placing if not layer.is_idle)

    def revision_of(self, name: str) -> int:
        """Give the revision of a document that is in force; 0 where there is none."""
        revision = self._revisions.get(name)
        return 0 if revision is None else revision.revision

    def stale(self) -> Mapping[str, str]:
        """Give the layers whose newest revision cannot be read, and why; the last good one is in force."""
        return self._stale

    def layers(self) -> Mapping[str, LayerStanding]:
        """Give every layer as it stands, by name."""
        return self._standing

    def layer(self, name: str) -> LayerStanding:
        """Give one layer as it stands.

        Raises:
            UnknownLayer: When there is no such layer.
        """
        try:
            return self._standing[name]
        except KeyError:
            known = ", ".join(sorted(self._standing)) or "none yet"
            raise UnknownLayer(f"there is no layer {name!r} of experiments", fix=f"known: {known}") from None

    @property
    def is_empty(self) -> bool:
        """Whether no request can be in anything."""
        return not self._placing

    def placing(self) -> tuple[PlacingLayer, ...]:
        """Give the layers that somebody can be in, each behind the one it is within."""
        return self._placing

    def draw(self, sources: Iterable[Mapping[str, Any]], target: Target) -> DrawnArms:
        """Draw a request's arms.

        Args:
            sources: Where units' values stand, the first that has one counts.
            target: What the request asks to be ranked by.
        """
        return draw(self._placing, sources, target, self._now())


def read_layer(revision: Revision) -> AllottedLayer | None:
    """Read what a revision says; None where it takes the layer away.

    Raises:
        UnreadableDocument: When it cannot be read.
    """
    if revision.action == "delete" or _is_deleted(revision.document):
        return None
    return read_document(revision, AllottedLayer)


def _is_deleted(document: str) -> bool:
    try:
        return bool(json.loads(document) == json.loads(DELETED))
    except ValueError:
        return False
