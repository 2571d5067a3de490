"""Fusion profiles to the documents that operators read."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from contract.formula.units import FormulaWarning
from contract.plan import FusionPlan
from service.ranking.convergence import ConvergenceState
from service.ranking.differences import differences
from service.ranking.fusions import Standing
from service.revisions import Revision

__all__ = ["convergence_document", "history_document", "state_document"]


def state_document(standing: Standing, now: datetime, warnings: Iterable[tuple[str, FormulaWarning]]) -> dict[str, Any]:
    """Give a profile as it stands; see :class:`service.api.fusion_schemas.FusionState`."""
    revision, plan = standing.revision, standing.plan
    whole = plan.model_dump(mode="json")
    return {
        "profile": standing.profile_name,
        "revision": revision.revision,
        **whole["profile"],
        **_written(revision),
        "in_force": _in_force(plan, now),
        "temporary": whole["temporary"],
        "schedules": whole["schedules"],
        "warnings": [
            {"variant": variant, "position": each.position, "detail": each.detail, "fix": each.fix}
            for variant, each in warnings
        ],
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


def history_document(profile: str, revisions: Sequence[Revision], limit: int) -> dict[str, Any]:
    """Give a page of history, of *limit* entries, from one revision more where there are that many."""
    plans = [_plan(revision) for revision in revisions]
    changes = [list(differences(before or {}, after or {})) for after, before in pairwise([*plans, None])]
    entries = [
        {"revision": revision.revision, **_written(revision), "plan": plan, "changes": changed}
        for revision, plan, changed in zip(revisions, plans, changes, strict=True)
    ][:limit]
    more = len(revisions) > limit
    return {
        "profile": profile,
        "revisions": entries,
        "next_before": entries[-1]["revision"] if more and entries else None,
    }


def _written(revision: Revision) -> dict[str, Any]:
    return {
        "sequence": revision.sequence,
        "author": revision.author,
        "reason": revision.reason,
        "action": revision.action,
        "created_at": revision.created_at.isoformat(),
    }


def _plan(revision: Revision) -> dict[str, Any] | None:
    try:
        plan = json.loads(revision.document)
    except ValueError:
        return None
    return plan if isinstance(plan, dict) else None


def _in_force(plan: FusionPlan, now: datetime) -> dict[str, Any]:
    variant, _ = plan.in_force(now)
    ends = {f"schedule:{each.name}": each.ends_at for each in plan.schedules}
    if plan.temporary is not None:
        ends["temporary"] = plan.temporary.until
    until = ends.get(variant)
    return {"variant": variant, "until": until.isoformat() if until else None}
