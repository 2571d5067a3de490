"""Fusion profiles to the documents that operators read."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from contract.formula.units import FormulaWarning
from contract.plan import FusionPlan
from service.api.revision_documents import written
from service.ranking.fusions import Standing

__all__ = ["state_document"]


def state_document(standing: Standing, now: datetime, warnings: Iterable[tuple[str, FormulaWarning]]) -> dict[str, Any]:
    """Give a profile as it stands; see :class:`service.api.fusion_schemas.FusionState`."""
    plan = standing.plan
    whole = plan.model_dump(mode="json")
    return {
        "profile": standing.profile_name,
        **whole["profile"],
        **written(standing.revision),
        "in_force": _in_force(plan, now),
        "temporary": whole["temporary"],
        "schedules": whole["schedules"],
        "warnings": [
            {"variant": variant, "position": each.position, "detail": each.detail, "fix": each.fix}
            for variant, each in warnings
        ],
    }


def _in_force(plan: FusionPlan, now: datetime) -> dict[str, Any]:
    variant, _ = plan.in_force(now)
    ends = {f"schedule:{each.name}": each.ends_at for each in plan.schedules}
    if plan.temporary is not None:
        ends["temporary"] = plan.temporary.until
    until = ends.get(variant)
    return {"variant": variant, "until": until.isoformat() if until else None}
