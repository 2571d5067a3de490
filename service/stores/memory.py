"""Stores that forget with the process: for tests, and for trying things out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock

from contract.fusion import FusionProfile
from service.ports import FusionRevision

__all__ = ["MemoryFusionStore"]


class MemoryFusionStore:
    """Keeps revisions in a list."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._revisions: list[FusionRevision] = []

    def latest(self) -> Mapping[str, FusionRevision]:
        """Give the newest revision of each profile, by name."""
        with self._lock:
            return {revision.profile_name: revision for revision in self._revisions}

    def append(self, profile_name: str, profile: FusionProfile) -> FusionRevision:
        """Keep a new revision, with the next number."""
        with self._lock:
            number = 1 + sum(revision.profile_name == profile_name for revision in self._revisions)
            revision = FusionRevision(
                profile_name=profile_name, revision=number, profile=profile, created_at=datetime.now(UTC)
            )
            self._revisions.append(revision)
            return revision

    def close(self) -> None:
        """Nothing to release."""
