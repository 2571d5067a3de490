"""The documents of a preview, for readers of the API."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PreviewBody", "PreviewDocument"]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PreviewBody(_Document):
    """A proposed profile, whole, or new values for weights of the one in force."""

    kind: Literal["formula", "model"] = "formula"
    formula: str | None = Field(
        None, min_length=1, description="Left out, the profile in force is taken with other *weights*."
    )
    weights: dict[str, Any] = Field(
        default_factory=dict,
        description="With a formula, all its weights; without one, those that change.",
        examples=[{"w_duration": 0.7}],
    )
    non_finite: Literal["bottom", "fail"] | None = None
    model: str | None = Field(None, description="Of a learned profile, the name of its bundle.")
    version: int | None = Field(None, ge=1, description="Of that bundle.")
    top_k: int = Field(10, ge=1, le=10_000, description="Results that count as shown.")
    segment_by: str | None = Field(
        None, min_length=1, max_length=128, description="A categorical or hashed field of the request."
    )
    max_requests: int = Field(2_000, ge=1, le=1_000_000, description="Requests that are ranked again at most.")


class ComparedProfile(_Document):
    """One side of the comparison, as `GET /v1/admin/fusion/{profile}` shows it."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["formula", "model"]


class VersionTraffic(_Document):
    """Kept requests by the model version that scored them."""

    model: str
    version: int
    requests: int
    used: bool
    refusal: str = Field(description="Why they could not be used; empty where they were.")


class Traffic(_Document):
    """The requests that were ranked again."""

    kept: int = Field(description="Requests of this profile that this process has kept.")
    requests: int = Field(description="Requests that were ranked again.")
    candidates: int
    is_complete: bool = Field(description="False where time ran out; what was ranked is still a random choice.")
    oldest_s: float | None = Field(description="Age of the oldest of them.")
    newest_s: float | None
    turned: int = Field(
        description="Of them, those that a request or an experiment ranked with other weights; that is not replayed."
    )
    versions: list[VersionTraffic]


class HeadMeans(_Document):
    """A head's mean over the top k, each request counting once; the interval holds 95 %, by request, paired."""

    unit: Literal["probability", "seconds", "log_seconds", "count", "value"]
    requests: int
    before: float
    after: float
    change: float
    percent: float | None = Field(description="Change in percent of the size of *before*; null where that is 0.")
    percent_low: float | None
    percent_high: float | None


class Bounds(_Document):
    """Least and greatest finite score."""

    min: float
    max: float


class ScoreFacts(_Document):
    """The scores of one side."""

    non_finite: int = Field(description="Scores that are not finite.")
    non_finite_requests: int = Field(description="Requests with such a score; a policy of `fail` refuses them.")
    range: Bounds | None


class BothScores(_Document):
    """The scores of both sides."""

    before: ScoreFacts
    after: ScoreFacts


class ChangeDocument(_Document):
    """What changes over some requests."""

    requests: int
    candidates: int
    few_requests: bool = Field(description="Under 30 requests: take the numbers as a hint.")
    top_k_overlap: float = Field(description="Mean share of a request's top k that stays in it.")
    first_changed: float = Field(description="Share of requests in which another candidate comes first.")
    kendall_tau: float | None = Field(description="Mean tau-b over the whole list: 1 same order, -1 reversed.")
    tau_requests: int = Field(description="Requests in which tau is defined.")
    unaffected: int = Field(description="Requests with no more candidates than top_k, whose overlap is always 1.")
    heads: dict[str, HeadMeans]
    scores: BothScores


class SegmentDocument(ChangeDocument):
    """The same for the requests with one value of the field; value null gathers the smaller ones."""

    value: str | None
    values: int = Field(description="How many values these are.")


class ItemDocument(_Document):
    """An item by its hash, which means nothing outside of this process, and in how many requests."""

    item: str
    requests: int


class OddPart(_Document):
    """Something odd in the proposed formula, which runs all the same."""

    position: int
    detail: str
    fix: str


class PreviewDocument(_Document):
    """What would change."""

    profile: str
    revision: int = Field(description="The revision in force, which the proposal was compared with.")
    current: ComparedProfile
    proposed: ComparedProfile
    warnings: list[OddPart]
    note: str = Field(description="What to know before reading on; empty where there is nothing.")
    traffic: Traffic
    top_k: int
    change: ChangeDocument | None
    segments: list[SegmentDocument]
    entering: list[ItemDocument]
    leaving: list[ItemDocument]
