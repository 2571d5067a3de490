"""Revisions of any family to the documents that operators read."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from service.ranking.convergence import ConvergenceState
from service.ranking.differences import differences
from service.revisions import Revision

__all__ = ["convergence_document", "history_page", "written"]


def written(revision: Revision) -> dict[str, Any]:
    """Give which revision it is, who wrote it, when and why."""
    return {
        "revision": revision.revision,
        "sequence": revision.sequence,
        "author": revision.author,
        "reason": revision.reason,
        "action": revision.action,
        "created_at": revision.created_at.isoformat(),
    }


def convergence_document(state: ConvergenceState) -> dict[str, Any]:
    """Give who has what; see :class:`service.api.fusion_schemas.ConvergenceDocument`."""
    return {
        "sequence": state.sequence,
        "converged": not state.behind,
        "processes": [
            {
                "process_id": process.process_id,
                "host": process.host,
                "pid": process.pid,
                "applied": process.applied,
                "seen_at": process.seen_at.isoformat(),
            }
            for process in state.processes
        ],
        "behind": [process.process_id for process in state.behind],
    }


def history_page(
    revisions: Sequence[Revision], limit: int, *, comparable: Callable[[Any], Any] = lambda plan: plan
) -> dict[str, Any]:
    """Give a page of history, of *limit* entries, from one revision more where there are that many.

    Args:
        comparable: What is compared of a document to tell what changed.
    """
    plans = [_plan(revision) for revision in revisions]
    compared = [comparable(plan or {}) for plan in (*plans, None)]
    changes = [list(differences(before, after)) for after, before in pairwise(compared)]
    entries = [
        {**written(revision), "plan": plan, "changes": changed}
        for revision, plan, changed in zip(revisions, plans, changes, strict=True)
    ][:limit]
    more = len(revisions) > limit
    return {"revisions": entries, "next_before": entries[-1]["revision"] if more and entries else None}


def _plan(revision: Revision) -> dict[str, Any] | None:
    try:
        plan = json.loads(revision.document)
    except ValueError:
        return None
    return plan if isinstance(plan, dict) else None
