"""The documents of the API, for its readers: OpenAPI is made from these, the hot path builds none of them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Health",
    "ModelList",
    "ModelSummary",
    "ModelVersions",
    "Problem",
    "RankRequest",
    "RankResponse",
    "Version",
    "json_body",
    "problems",
]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class RankRequest(_Document):
    """Candidates to rank for one request."""

    request_id: str | None = Field(None, min_length=1, max_length=128, description="Echoed; made up when left out.")
    model: str | None = Field(
        None, min_length=1, max_length=128, description="Name of the model; may be left out if there is one."
    )
    profile: str | None = Field(
        None, min_length=1, max_length=128, description="Fusion profile; `default` when left out."
    )
    top_k: int | None = Field(None, ge=1, description="Results wanted; all when left out.")
    deadline_ms: float | None = Field(
        None, gt=0, le=600_000, description="Milliseconds after which no answer is wanted."
    )
    units: dict[str, str | int] | None = Field(
        None, description="Who this is for, by name, for experiments to assign by; a field of `request` serves as well."
    )
    request: dict[str, Any] | None = Field(
        None, description="Request-side features by name, as /v1/models lists them; one left out is missing."
    )
    candidates: dict[str, list[Any]] | list[dict[str, Any]] = Field(
        description=(
            "Columns of equal length, or a list of objects. `item_id` (strings) is required; candidate "
            "features stand beside it, or come from the item table."
        )
    )
    weights: dict[str, float] | None = Field(
        None, description="Replaces weights of the profile, for this request alone."
    )
    return_: list[Literal["heads", "explain"]] | None = Field(
        None, alias="return", description="What else to give for each result."
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request": {"hour": 20},
                    "candidates": {"item_id": ["i1", "i2"], "price": [3.5, 8.0]},
                    "top_k": 2,
                    "return": ["heads"],
                }
            ]
        }
    )


class ModelName(_Document):
    """Which model answered."""

    name: str
    version: int


class FusionName(_Document):
    """Which fusion revision made the scores."""

    profile: str
    revision: int
    variant: str = Field(description="`base`, `temporary` or `schedule:<name>`: what of that revision was in force.")


class Part(_Document):
    """One term or factor of a score."""

    part: str = Field(description="As the formula writes it.")
    value: float | None
    share: float | None = Field(description="Of the score; the shares of a result add up to 1.")


class Move(_Document):
    """The smallest change of one head that would move the result one place up, all others held as they are."""

    head: str
    change: float = Field(description="What to add, in the head's unit.")
    relative: float | None = Field(description="The same as a part of the head's value.")


class Explained(_Document):
    """Why a result scores what it does."""

    kind: Literal["terms", "factors"] = Field(description="Whether the parts add up or multiply to the score.")
    parts: list[Part]
    one_place_up: list[Move] = Field(
        description="Cheapest first, relative to the head; heads of which no change alone is enough are left out."
    )


class Result(_Document):
    """One ranked candidate."""

    item_id: str
    rank: int = Field(ge=1)
    score: float | None = Field(description="Fused score; null where it was not finite.")
    heads: dict[str, float | None] | None = Field(None, description="Head values, in the units that /v1/models states.")
    explain: Explained | None = Field(
        None, description="For the first 100 results; null under a learned fusion, whose score has no parts."
    )


class ExposureDocument(_Document):
    """An arm of an experiment that the request is in."""

    layer: str
    experiment: str = Field(description="`holdout` for the units that never enter one.")
    arm: str
    propensity: float = Field(description="Chance that a unit has of this arm.")
    shadow: bool | None = Field(None, description="True where the arm was scored beside the answer only.")
    fallback: str | None = Field(None, description="Why the arm was not served; left out where it was.")


class RankResponse(_Document):
    """The ranking, best first."""

    request_id: str
    model: ModelName
    fusion: FusionName
    results: list[Result]
    timings_ms: dict[str, float] = Field(description="Milliseconds of each stage.")
    degraded: bool
    unknown_items: int = Field(description="Candidates that the item table does not know.")
    experiments: list[ExposureDocument] | None = Field(None, description="Left out where there are none.")


class Problem(_Document):
    """An error (RFC 9457)."""

    type: str = Field(examples=["urn:fulcrum:error:invalid_field"])
    title: str
    status: int
    code: str = Field(description="Stable; programs may branch on it.")
    detail: str = Field(description="What is wrong.")
    fix: str = Field(description="How to mend it.")
    path: str = Field(description="JSON pointer to the bad field; empty where there is none.")
    request_id: str
    retry_after_s: float | None = None


class HeadSummary(_Document):
    """A head that formulas may read."""

    name: str
    unit: str
    task: str


class FieldSummary(_Document):
    """A feature that requests may carry; one that is null or left out is missing."""

    name: str
    side: Literal["request", "candidate"]
    kind: Literal["categorical", "hashed", "sequence", "numeric", "vector"] = Field(
        description="A sequence takes a list of values, newest first; a vector a list of numbers; all else one value."
    )
    values: Literal["string", "int", "float"] = Field(description="Type of the value, or of each value of the list.")
    length: int | None = Field(
        None, description="Of a sequence, how many values are read; of a vector, how many numbers it must have."
    )


class ModelSummary(_Document):
    """A served model."""

    name: str
    version: int
    architecture: str
    heads: list[HeadSummary]
    fields: list[FieldSummary]
    metrics: dict[str, float] = Field(description="Offline metrics.")
    created_at: str


class ModelList(_Document):
    """All served models."""

    models: list[ModelSummary]


class ModelVersions(_Document):
    """What is served after a look for new bundles."""

    models: dict[str, int] = Field(description="Served versions by name.")
    rejected: dict[str, str] = Field(description="Bundles refused, and why.")


class StoreHealth(_Document):
    """Whether changes reach this process."""

    up: bool
    applied: int = Field(description="Sequence up to which every change is in force here.")
    problem: str = Field(description="What is wrong; empty while it answers.")
    unreadable: dict[str, str] = Field(description="Documents whose newest revision cannot be read, and why.")


class Health(_Document):
    """Whether this process should get traffic."""

    status: Literal["ready", "not_ready", "draining", "alive"]
    models: dict[str, int] = Field(default_factory=dict, description="Served versions by name.")
    profiles: dict[str, int] = Field(default_factory=dict, description="Fusion revisions by profile.")
    rejected: dict[str, str] = Field(default_factory=dict, description="Bundles refused, and why.")
    store: StoreHealth | None = Field(None, description="The store of revisions; the last good ones serve without it.")


class Version(_Document):
    """What is running."""

    version: str
    python: str
    onnxruntime: str


def json_body(document: type[BaseModel]) -> dict[str, Any]:
    """Describe a body that the route reads by itself."""
    schema = document.model_json_schema(by_alias=True)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route."""
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": "The request was refused.", "content": content} for status in statuses}
