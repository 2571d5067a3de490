"""A fusion book, its store and its editor, as the app joins them, at noon."""

import asyncio
from datetime import UTC, datetime, timedelta

from contract.fusion import FusionProfile
from contract.plan import Schedule
from contract.weights import Weight
from service.errors import (
    StoreUnavailable,
)
from service.ranking.compiling import ProfileCompiler
from service.ranking.editing import FusionEditor
from service.ranking.fusions import FusionBook
from service.ranking.revising import Author
from service.stores.memory import MemoryRevisionStore

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CTR = FusionProfile(formula="ctr")
LIKE = FusionProfile(formula="w * like", weights={"w": 2.0})
NONSENSE = FusionProfile(formula="ctr * nothing_like_it")
BOUNDED = FusionProfile(
    formula="w * ctr + v * like", weights={"w": Weight(value=0.5, min=0.0, max=1.0, step=0.1), "v": 1.0}
)


class ServedModel:
    """What the book reads of a served model."""

    def __init__(self, *, manifest, version=1):
        self.manifest = manifest
        self.version = version


class Catalog:
    def __init__(self, *models):
        self.models = models

    def all(self):
        return self.models


class Clock:
    """A time of day that a test moves by hand."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


class Desk:
    """A book, its store and its editor, as the app joins them."""

    def __init__(self, *models, store=None):
        self.clock, compiler = Clock(), ProfileCompiler()
        self.store = store if store is not None else MemoryRevisionStore()
        self.book = FusionBook(compile_profile=compiler, now=self.clock)
        for revision in self.store.latest().values():
            self.book.apply(revision)
        self.editor = FusionEditor(
            store=self.store, book=self.book, catalog=Catalog(*models), compile_profile=compiler, now=self.clock
        )

    def do(self, change, *given, saw=None, reason="", by="ana", **more):
        author = Author(name=by, reason=reason, saw=saw)
        return asyncio.run(getattr(self.editor, change)(given[0], *given[1:], author, **more))

    def put(self, profile, *, name="default", **more):
        return self.do("put", name, profile, **more)


def without(model, head, *, version=2, name="demo"):
    heads = tuple(kept for kept in model.manifest.heads if kept.name != head)
    return ServedModel(version=version, manifest=model.manifest.model_copy(update={"heads": heads, "name": name}))


def in_force(desk, model, name="default"):
    now = desk.book.current(name, model)
    return now.revision, now.variant, now.fusion.profile


class BrokenStore(MemoryRevisionStore):
    broken = False

    def append(self, change):
        if self.broken:
            raise StoreUnavailable("the disk is full")
        return super().append(change)


def window(name="campaign", profile=LIKE, *, starts=HOUR, ends=2 * HOUR):
    return Schedule(name=name, starts_at=NOON + starts, ends_at=NOON + ends, profile=profile)
