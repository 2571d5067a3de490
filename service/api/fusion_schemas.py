"""The documents of the fusion routes: bodies that operators send, and what they get."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, model_validator

from contract.fusion import AnyProfile

__all__ = [
    "ConvergenceDocument",
    "FusionBody",
    "FusionList",
    "FusionState",
    "HistoryDocument",
    "RollbackBody",
    "ScheduleBody",
    "WeightsBody",
]

MAX_TTL_S = 366 * 86_400.0
Reason = Annotated[str, Field(max_length=500, description="Why; stands in the history.")]
Ttl = Annotated[
    float | None,
    Field(strict=True, gt=0, le=MAX_TTL_S, description="Seconds after which the base comes back by itself."),
]
_PROFILE = ("kind", "formula", "weights", "non_finite", "model", "version")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class _Profiled(_Document):
    """A body whose own keys stand beside those of a profile."""

    profile: AnyProfile

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "profile" in given:
            return given
        rest = {key: value for key, value in given.items() if key not in _PROFILE}
        return {**rest, "profile": {key: value for key, value in given.items() if key in _PROFILE}}


class FusionBody(_Profiled):
    """A new state of a profile: a formula with its weights, or a learned model."""

    reason: Reason = ""
    ttl_s: Ttl = None


class WeightsBody(_Document):
    """New values of some weights."""

    weights: dict[str, Annotated[float, Strict()]] = Field(min_length=1, examples=[{"w2": 0.6}])
    reason: Reason = ""
    ttl_s: Ttl = None


class RollbackBody(_Document):
    """Which revision to write again."""

    to: int | None = Field(None, ge=1, description="Revision; the one before the newest when left out.")
    reason: Reason = ""


class ScheduleBody(_Profiled):
    """A window in which another profile takes over."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime
    reason: Reason = ""


class InForceDocument(_Document):
    """What of a profile ranks at this moment."""

    variant: str = Field(description="`base`, `temporary` or `schedule:<name>`.")
    until: str | None = Field(description="When that ends by itself.")


class ProcessDocument(_Document):
    """One service process."""

    process_id: str
    host: str
    pid: int
    applied: int = Field(description="Sequence up to which every change is in force there.")
    seen_at: str


class ConvergenceDocument(_Document):
    """Who has what."""

    sequence: int = Field(description="Of the newest change, or of the one that was just written.")
    converged: bool
    processes: list[ProcessDocument]
    behind: list[str] = Field(description="Ids of the processes that have not applied it.")


class WarningDocument(_Document):
    """A part of a formula that runs but is probably not meant."""

    variant: str = Field(description="Which part of the revision: `base`, `temporary` or `schedule:<name>`.")
    position: int = Field(description="Character of the formula where it begins, from 1.")
    detail: str
    fix: str


class FusionState(_Document):
    """A profile as it stands."""

    profile: str
    revision: int
    sequence: int
    kind: Literal["formula", "model"]
    formula: str | None = None
    weights: dict[str, Any] | None = None
    model: str | None = None
    version: int | None = None
    non_finite: Literal["bottom", "fail"]
    author: str
    reason: str
    action: str
    created_at: str
    in_force: InForceDocument
    temporary: dict[str, Any] | None = None
    schedules: list[dict[str, Any]] = Field(default_factory=list)
    warnings: list[WarningDocument] = Field(default_factory=list)
    convergence: ConvergenceDocument | None = None


class FusionList(_Document):
    """All fusion profiles as they stand."""

    profiles: list[FusionState]


class HistoryEntry(_Document):
    """One revision."""

    revision: int
    sequence: int
    author: str
    reason: str
    action: str
    created_at: str
    plan: dict[str, Any] | None = Field(description="The whole revision; null where it can no longer be read.")
    changes: list[dict[str, Any]] = Field(description="What differs from the revision before, leaf by leaf.")


class HistoryDocument(_Document):
    """Revisions of a profile, newest first."""

    profile: str
    revisions: list[HistoryEntry]
    next_before: int | None = Field(description="Send it as `before` for the next page; null at the end.")
