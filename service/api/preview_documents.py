"""A preview as the document that is answered."""

from typing import Any

from service.ranking.choice import VersionUse
from service.ranking.preview_desk import PreviewAnswer
from service.ranking.summary import FEW_REQUESTS, Change, HeadChange, SegmentChange

__all__ = ["preview_document"]


def preview_document(answer: PreviewAnswer) -> dict[str, Any]:
    """Give the JSON of an answer."""
    found, comparison = answer.preview, answer.comparison
    return {
        "profile": comparison.current.name,
        "revision": comparison.current.revision,
        "current": comparison.current.profile.model_dump(mode="json"),
        "proposed": comparison.proposed.model_dump(mode="json"),
        "warnings": [vars(warning) for warning in comparison.warnings],
        "note": _note(answer),
        "traffic": _traffic(answer),
        "top_k": answer.top_k,
        "change": _change(found.change) if found else None,
        "segments": [_segment(each) for each in found.segments] if found else [],
        "entering": [vars(each) for each in found.entering] if found else [],
        "leaving": [vars(each) for each in found.leaving] if found else [],
    }


def _note(answer: PreviewAnswer) -> str:
    if not answer.is_sampling:
        return "No requests are kept: set FULCRUM_PREVIEW_REQUESTS and FULCRUM_PREVIEW_ROWS above 0."
    if not answer.kept:
        return "No traffic of this profile has been seen yet by this process."
    if not answer.chosen:
        return f"None of the {answer.kept} kept requests can be ranked again; traffic.versions says why."
    if answer.preview is not None and answer.preview.change.requests < answer.chosen:
        return f"Time ran out after {answer.preview.change.requests} of {answer.chosen} requests, a random choice."
    return ""


def _traffic(answer: PreviewAnswer) -> dict[str, Any]:
    found = answer.preview
    return {
        "kept": answer.kept,
        "requests": found.change.requests if found else 0,
        "candidates": found.change.candidates if found else 0,
        "is_complete": answer.chosen == (found.change.requests if found else 0),
        "oldest_s": found.oldest_s if found else None,
        "newest_s": found.newest_s if found else None,
        "turned": found.turned if found else 0,
        "versions": [_version(each) for each in answer.versions],
    }


def _version(use: VersionUse) -> dict[str, Any]:
    return {
        "model": use.model,
        "version": use.version,
        "requests": use.requests,
        "used": not use.refusal,
        "refusal": use.refusal,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "requests": change.requests,
        "candidates": change.candidates,
        "few_requests": change.requests < FEW_REQUESTS,
        "top_k_overlap": change.top_k_overlap,
        "first_changed": change.first_changed,
        "kendall_tau": change.kendall_tau,
        "tau_requests": change.tau_requests,
        "unaffected": change.unaffected,
        "heads": {head.name: _head(head) for head in change.heads},
        "scores": {side: _scores(change, row) for row, side in enumerate(("before", "after"))},
    }


def _segment(segment: SegmentChange) -> dict[str, Any]:
    return {"value": segment.value, "values": segment.values, **_change(segment.change)}


def _head(head: HeadChange) -> dict[str, Any]:
    return {key: value for key, value in vars(head).items() if key != "name"}


def _scores(change: Change, side: int) -> dict[str, Any]:
    bounds = change.score_range[side]
    return {
        "non_finite": change.non_finite[side],
        "non_finite_requests": change.hit_requests[side],
        "range": None if bounds is None else {"min": bounds[0], "max": bounds[1]},
    }
