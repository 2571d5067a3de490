"""Changes of layers: checked against what stands and what is served, kept with who and why, and in force at once."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from service.errors import InvalidExperiment, UnknownLayer, UnreadableDocument
from service.ranking.experiments.allotment import AllottedLayer, allot
from service.ranking.experiments.book import DELETED, FAMILY, ExperimentBook, LayerStanding, read_layer
from service.ranking.experiments.documents import Arm, Experiment, Layer
from service.ranking.experiments.domains import refuse_domains
from service.ranking.experiments.overlaps import refuse_overlaps
from service.ranking.experiments.servable import FALLBACKS, Servable
from service.ranking.fusions import utc_now
from service.ranking.revising import Author, conflict, keep, unseen
from service.revisions import Action, Revision, RevisionStore

__all__ = ["ExperimentEditor"]


class ExperimentEditor:
    """Writes revisions of layers.

    Args:
        store: Where they are kept.
        book: Where they are in force.
        servable: Knows what arms may name.
        now: Time of day.
    """

    def __init__(
        self,
        *,
        store: RevisionStore,
        book: ExperimentBook,
        servable: Servable,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._book = book
        self._servable = servable
        self._now = now
        self._writing = asyncio.Lock()

    async def put(self, name: str, layer: Layer, author: Author) -> LayerStanding:
        """Write a layer, with the buckets that its shares need.

        Raises:
            InvalidExperiment: When its domain, its arms or a change of what runs cannot be.
            OverlappingExperiments: When it overlaps with another layer.
            PreconditionMissing: When the layer exists and the author has not said which revision it saw.
            RevisionConflict: When someone else has changed it meanwhile.
            StoreUnavailable: When it could not be kept; what was in force stays.
        """
        async with self._writing:
            expected = await self._expected(name, author)
            allotted = self._checked(name, layer)
            revision = await self._keep(name, allotted.model_dump_json(), expected, author, action="put")
        return LayerStanding(revision=revision, allotted=allotted)

    async def delete(self, name: str, author: Author) -> Revision:
        """Take a layer away; its history stays, with this as its last entry.

        Raises:
            UnknownLayer: When there is no such layer.
        """
        async with self._writing:
            expected = await self._expected(name, author)
            self._book.layer(name)
            others = {other: each.allotted.layer for other, each in self._book.layers().items() if other != name}
            refuse_domains(others, name)
            return await self._keep(name, DELETED, expected, author, action="delete")

    async def history(self, name: str, *, before: int | None, limit: int) -> Sequence[Revision]:
        """Give the revisions of a layer, newest first, with one more than asked for to compare with.

        Raises:
            UnknownLayer: When there never was such a layer.
        """
        found = await asyncio.to_thread(self._store.history, FAMILY + name, before=before, limit=limit + 1)
        if not found and before is None:
            raise UnknownLayer(f"there never was a layer {name!r}", fix="look at the list of layers")
        return found

    async def _expected(self, name: str, author: Author) -> int:
        """Give the revision that the change goes on top of, having read the store anew: others write too."""
        latest = await asyncio.to_thread(self._store.latest)
        for revision in latest.values():
            if revision.name.startswith(FAMILY):
                self._apply(revision)
        newest = latest.get(FAMILY + name)
        if author.saw is not None and (newest is None or newest.revision != author.saw):
            raise conflict(FAMILY + name, author, newest)
        if author.saw is None and newest is not None and not _takes_away(newest):
            raise unseen(f"layer {name!r}", newest.revision)
        return 0 if newest is None else newest.revision

    def _apply(self, revision: Revision) -> None:
        try:
            self._book.apply(revision)
        except UnreadableDocument:
            return  # the follower says so; this writer may be the one who mends it

    def _checked(self, name: str, layer: Layer) -> AllottedLayer:
        standing = self._book.layers().get(name)
        if standing is not None:
            self._refuse_moving(standing.allotted.layer, layer)
        layers = {other: each.allotted.layer for other, each in self._book.layers().items()} | {name: layer}
        refuse_domains(layers, name)
        refuse_overlaps(layers, name)
        for position, experiment in enumerate(layer.experiments):
            if self._now() < experiment.closes_at:
                self._refuse_unservable(experiment, f"/experiments/{position}")
        return allot(layer, standing.allotted.allotment if standing else None)

    def _refuse_moving(self, before: Layer, after: Layer) -> None:
        """Refuse what would move units of an experiment that has begun from one arm to another."""
        for position, experiment in enumerate(after.experiments):
            known = before.experiment(experiment.name)
            if known is None or self._now() < known.opens_at:
                continue
            if (before.unit, before.salt) != (after.unit, after.salt):
                raise InvalidExperiment(
                    f"{known.name!r} has begun; another unit or salt would move its units between arms",
                    fix="take it out of the layer first, or write another layer",
                    path="/unit" if before.unit != after.unit else "/salt",
                )
            if known.cut() != experiment.cut():
                raise InvalidExperiment(
                    f"{known.name!r} has begun; other arms or shares of arms would move its units between arms",
                    fix="change its own share, which moves nobody, or give the new arms to an experiment of a new name",
                    path=f"/experiments/{position}/arms",
                )

    def _refuse_unservable(self, experiment: Experiment, path: str) -> None:
        asked = [experiment.on.model] if experiment.on.model else self._servable.model_names()
        for position, arm in enumerate(experiment.arms):
            problems = [self._problem(experiment, arm, model) for model in asked] or ["model"]
            if not arm.changes_nothing and all(problems):
                raise InvalidExperiment(
                    f"arm {arm.name!r} of {experiment.name!r} cannot be served: {FALLBACKS[problems[0]]}",
                    fix="name a profile, a model and weights that are there, with values within their bounds",
                    path=f"{path}/arms/{position}",
                )

    def _problem(self, experiment: Experiment, arm: Arm, asked: str) -> str:
        return self._servable.problem(
            profile=arm.profile or experiment.on.profile,
            model=arm.model or asked,
            instead_of=asked,
            weights=arm.weights,
            also={},
        )

    async def _keep(self, name: str, document: str, expected: int, author: Author, *, action: Action) -> Revision:
        change = author.change(FAMILY + name, document, expected=expected, action=action)
        return await keep(self._store, self._book, change)


def _takes_away(revision: Revision) -> bool:
    try:
        return read_layer(revision) is None
    except UnreadableDocument:
        return False
