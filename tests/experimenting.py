"""What the tests of experiments share: layers in a line, a book with a clock of its own, and many units."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np

from contract.fusion import FusionProfile
from contract.plan import FusionPlan
from service.ranking.compiling import ProfileCompiler
from service.ranking.experiments.allotment import allot
from service.ranking.experiments.assembly import experiments_over
from service.ranking.experiments.book import FAMILY, ExperimentBook
from service.ranking.experiments.documents import Layer
from service.ranking.experiments.drawing import Target
from service.ranking.fusions import FusionBook
from service.ranking.revising import Author
from service.revisions import Change
from service.stores.memory import MemoryRevisionStore
from tests.factories import tiny_manifest
from tests.fakes import FakeCatalog, FakeModel

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ASKED = Target("default", "tiny")
HALVES = ({"name": "control", "share": 0.5}, {"name": "new", "share": 0.5, "profile": "new"})


class Now:
    """A time of day that a test sets."""

    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now


def after(hours):
    return START + timedelta(hours=hours)


def experiment(name="formula", *, share=0.5, arms=HALVES, **more):
    return {"name": name, "share": share, "arms": list(arms), **more}


def weighted(name="weights", *, share=0.5, weights=None, **more):
    """An experiment on weights of the profile."""
    changed = {"w": 2.0} if weights is None else weights
    arms = [{"name": "control", "share": 0.5}, {"name": "heavy", "share": 0.5, "weights": changed}]
    return experiment(name, share=share, arms=arms, **more)


def layer(*experiments, unit="user_id", **more):
    return Layer.model_validate({"unit": unit, "experiments": list(experiments), **more})


def within(layer_name, experiment_name="formula", arm="new"):
    return {"layer": layer_name, "experiment": experiment_name, "arm": arm}


class Lab:
    """A store with the experiments and profiles over it, and models that are not really there."""

    def __init__(self, *, models=None, observer=None, store=None):
        self.now = Now()
        self.store = store or MemoryRevisionStore()
        self.catalog = FakeCatalog(*(models or [FakeModel()]))
        self.fusions = FusionBook(compile_profile=ProfileCompiler(), now=self.now)
        self.observer = observer or Watching()
        self.parts = experiments_over(
            store=self.store, catalog=self.catalog, fusions=self.fusions, observer=self.observer, now=self.now
        )
        self.book = self.parts.book
        self.profile("default", "w * ctr + v * log_duration", w={"value": 1.0, "min": 0.0, "max": 5.0}, v=0.0)
        self.profile("new", "u * log_duration", u=1.0)

    def profile(self, name, formula, *, non_finite="bottom", **weights):
        plan = FusionPlan(profile=FusionProfile(formula=formula, weights=weights, non_finite=non_finite))
        seen = self.store.latest().get(f"fusion/{name}")
        expected = seen.revision if seen else 0
        change = Change(name=f"fusion/{name}", document=plan.model_dump_json(), expected=expected, author="ana")
        self.fusions.apply(self.store.append(change))

    async def write(self, name, document, *, saw="newest", reason=""):
        if saw == "newest":
            saw = self.book.revision_of(FAMILY + name) or None
        return await self.parts.editor.put(name, document, Author(name="ana", reason=reason, saw=saw))

    def put(self, name, document, **how):
        return asyncio.run(self.write(name, document, **how))

    def delete(self, name):
        author = Author(name="ana", saw=self.book.revision_of(FAMILY + name))
        return asyncio.run(self.parts.editor.delete(name, author))

    def arms(self, units, *, asked=ASKED, field="user_id"):
        return arms_of(self.book, units, asked=asked, field=field)


class Watching:
    """Remembers what experiments tell their observers."""

    def __init__(self):
        self.exposures = []
        self.missing = []
        self.shadows = []
        self.lost = []

    def observe_exposure(self, exposure, seconds):
        self.exposures.append((exposure, seconds))

    def observe_missing_unit(self, layer):
        self.missing.append(layer)

    def observe_shadow(self, exposure, **change):
        self.shadows.append((exposure, change))

    def observe_lost_shadow(self, exposure, *, reason):
        self.lost.append((exposure, reason))


def book_of(layers, now=None):
    """Give a book with these layers, which nobody checked against each other or against what is served."""
    book, store = ExperimentBook(now=now or Now()), MemoryRevisionStore()
    for name, document in layers.items():
        kept = allot(document).model_dump_json()
        book.apply(store.append(Change(name=FAMILY + name, document=kept, expected=0, author="ana")))
    return book


def arms_of(book, units, *, asked=ASKED, field="user_id"):
    """Give for each unit ``{layer: (experiment, arm)}``."""
    return [
        {
            drawn.place.exposure.layer: (drawn.place.exposure.experiment, drawn.place.exposure.arm)
            for drawn in book.draw(({field: unit},), asked).drawn
        }
        for unit in units
    ]


def units(count, *, seed=0):
    """Give ids that are not in a row."""
    return [f"u{number}" for number in np.random.default_rng(seed).integers(0, 2**60, count).tolist()]


def manifest(name, **changes):
    return tiny_manifest(name).model_copy(update=changes)
