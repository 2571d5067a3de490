"""Settings, from ``FULCRUM_*`` variables. Only ``cli`` and ``app`` read them."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["PREFIX", "Settings", "UnknownSetting", "refuse_unknown_variables"]

PREFIX = "FULCRUM_"
# Read by training, which shares the prefix.
_OTHERS = {"FULCRUM_DATA"}


class Settings(BaseSettings):
    """Everything that can be set from outside."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    models_dir: Path = Field(default=Path("models_onnx"), description="Folder of bundles, <name>/<version>/.")
    fusion_store: str = Field(
        default="var/fusion.sqlite",
        description="SQLite file or Valkey URL that keeps every revision; :memory: forgets them with the process.",
    )
    fusions_dir: Path | None = Field(
        default=None, description="Folder of learned fusions, <name>/<version>/; unset, only formulas are served."
    )
    heartbeat_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Seconds between reports to the store; who misses three is gone.",
    )
    last_good_file: Path | None = Field(
        default=None, description="File that keeps the newest revisions, to start from while a remote store is gone."
    )
    admin_token: SecretStr | None = Field(
        default=None,
        description="Bearer token of the admin API, with every scope; unset and without a file it is closed.",
    )
    admin_tokens_file: Path | None = Field(
        default=None,
        description="JSON file of more tokens with names and scopes; `fulcrum token` makes entries.",
    )
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024, description="Largest request body.")
    max_candidates: int = Field(default=10_000, ge=1, description="Most candidates of one request.")
    max_batch_rows: int = Field(
        default=2_048, ge=1, description="Candidates that are joined into one graph call at most."
    )
    max_waiting_rows: int = Field(
        default=50_000, ge=1, description="Candidates that may wait; beyond, requests get 429 at once."
    )
    max_queue_wait_ms: float = Field(
        default=100.0,
        gt=0,
        description="Longest that those who wait may delay a newcomer; beyond, it gets 429 at once.",
    )
    runners: int = Field(default=1, ge=1, le=256, description="Graph calls of a model at a time.")
    threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads of a graph call; unset, the cores that this process may use, shared by the runners.",
    )
    max_preactivation_mib: int = Field(
        default=1_024,
        ge=0,
        description="Memory of a model for what its catalogue items add to the network, in MiB; 0 keeps none.",
    )
    default_deadline_ms: float | None = Field(
        default=None, gt=0, description="Deadline of requests that name none; unset, they never expire."
    )
    preview_requests: int = Field(
        default=2_000, ge=0, description="Recent requests that are kept for previews of a fusion at most; 0 keeps none."
    )
    preview_rows: int = Field(
        default=200_000, ge=0, description="Candidates of those requests that are kept at most; 0 keeps none."
    )
    watch_interval_s: float = Field(default=2.0, gt=0, description="Seconds between looks for new bundles.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log line that is written."
    )

    @field_validator(
        "admin_token",
        "admin_tokens_file",
        "fusions_dir",
        "last_good_file",
        "threads",
        "default_deadline_ms",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value


class UnknownSetting(ValueError):
    """A variable with our prefix that nothing reads."""


def refuse_unknown_variables() -> None:
    """Refuse a misspelt ``FULCRUM_*`` variable, which would otherwise be ignored in silence.

    Raises:
        UnknownSetting: Naming it, and all that are known.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _OTHERS
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        msg = f"unknown settings {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        raise UnknownSetting(msg)
