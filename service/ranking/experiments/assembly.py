"""All that experiments are made of, joined."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from service.ports import FusionSource, ModelCatalog
from service.ranking.experiments.book import ExperimentBook
from service.ranking.experiments.choosing import ArmChooser, ExposureObserver
from service.ranking.experiments.editing import ExperimentEditor
from service.ranking.experiments.servable import Servable
from service.ranking.experiments.shadowing import ShadowObserver, ShadowScorer
from service.ranking.fusions import utc_now
from service.revisions import RevisionStore

__all__ = ["Experiments", "ExperimentsObserver", "experiments_over"]


class ExperimentsObserver(ExposureObserver, ShadowObserver, Protocol):
    """Told of everything that experiments do."""


@dataclass(frozen=True, kw_only=True)
class Experiments:
    """The parts of one process.

    Args:
        book: Kept at the state of the store by the follower.
        chooser: Asked by the ranker.
        editor: Asked by the admin routes.
        shadows: To be closed at the end.
    """

    book: ExperimentBook
    chooser: ArmChooser
    editor: ExperimentEditor
    shadows: ShadowScorer


def experiments_over(
    *,
    store: RevisionStore,
    catalog: ModelCatalog,
    fusions: FusionSource,
    observer: ExperimentsObserver,
    now: Callable[[], datetime] = utc_now,
) -> Experiments:
    """Build the parts; nothing is read yet."""
    book = ExperimentBook(now=now)
    servable = Servable(catalog=catalog, fusions=fusions)
    shadows = ShadowScorer(fusions=fusions, observer=observer, clock=time.monotonic)
    return Experiments(
        book=book,
        chooser=ArmChooser(book=book, servable=servable, observer=observer, shadows=shadows),
        editor=ExperimentEditor(store=store, book=book, servable=servable, now=now),
        shadows=shadows,
    )
