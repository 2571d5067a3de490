"""Layers of experiments to the documents that operators read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.api.revision_documents import history_page, written
from service.ranking.experiments.book import FAMILY, LayerStanding
from service.ranking.experiments.documents import HOLDOUT
from service.ranking.experiments.explaining import LayerPlace
from service.revisions import Revision

__all__ = ["assignment_document", "deleted_document", "history_of_layer", "layer_document"]


def layer_document(standing: LayerStanding, stale: Mapping[str, str]) -> dict[str, Any]:
    """Give a layer as it stands; see :class:`service.api.experiment_schemas.LayerState`."""
    allotment = standing.allotted.allotment
    owners = {HOLDOUT: allotment.holdout, **allotment.experiments}
    return {
        **_written(standing.revision),
        "document": standing.allotted.layer,
        "buckets": {name: [list(each) for each in ranges] for name, ranges in owners.items() if ranges},
        "stale": stale.get(standing.layer_name, ""),
    }


def deleted_document(revision: Revision) -> dict[str, Any]:
    """Give a layer that was taken away."""
    return {**_written(revision), "document": None, "buckets": {}}


def history_of_layer(layer: str, revisions: Sequence[Revision], limit: int) -> dict[str, Any]:
    """Give a page of history, of *limit* entries, from one revision more where there are that many.

    Changes are told by the names of experiments and arms, since a place in a list says nothing to a reader.
    """
    return {"layer": layer, **history_page(revisions, limit, comparable=_by_name)}


def assignment_document(units: Mapping[str, str], places: Iterable[LayerPlace]) -> dict[str, Any]:
    """Give where units are; see :class:`service.api.experiment_schemas.AssignmentList`."""
    return {"units": units, "assignments": [_place(place) for place in places]}


def _place(place: LayerPlace) -> dict[str, Any]:
    exposure = place.exposure
    return {
        "layer": place.layer,
        "unit": place.unit,
        "bucket": place.bucket,
        "experiment": exposure.experiment if exposure else None,
        "arm": exposure.arm if exposure else None,
        "propensity": exposure.propensity if exposure else None,
        "shadow": exposure.shadow if exposure else False,
        "note": place.note,
    }


def _by_name(document: Any) -> Any:
    """Turn lists of named things into objects by name, all the way down."""
    if isinstance(document, list) and document and all(isinstance(each, dict) and "name" in each for each in document):
        return {each["name"]: _by_name({key: each[key] for key in each if key != "name"}) for each in document}
    return {key: _by_name(each) for key, each in document.items()} if isinstance(document, dict) else document


def _written(revision: Revision) -> dict[str, Any]:
    return {"layer": revision.name.removeprefix(FAMILY), **written(revision)}
