"""A store that forgets with the process: for tests, and for trying things out."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import Condition

from service.errors import RevisionConflict
from service.revisions import Change, ProcessState, Revision

__all__ = ["MemoryRevisionStore"]


class MemoryRevisionStore:
    """Keeps revisions in a list.

    Args:
        clock: Monotonic seconds, for leases.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = Condition()
        self._revisions: list[Revision] = []
        self._newest: Counter[str] = Counter()
        self._processes: dict[str, tuple[ProcessState, float]] = {}
        self._closed = False

    def latest(self) -> Mapping[str, Revision]:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            return {revision.name: revision for revision in self._revisions}

    def history(self, name: str, *, before: int | None = None, limit: int = 100) -> Sequence[Revision]:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            own = [each for each in self._revisions if each.name == name]
        return [each for each in reversed(own) if before is None or each.revision < before][:limit]

    def append(self, change: Change) -> Revision:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            newest = self._newest[change.name]
            if newest != change.expected:
                raise RevisionConflict.between(change, self._last(change.name))
            revision = Revision(
                sequence=len(self._revisions) + 1,
                name=change.name,
                revision=newest + 1,
                document=change.document,
                author=change.author,
                reason=change.reason,
                action=change.action,
                created_at=datetime.now(UTC),
            )
            self._revisions.append(revision)
            self._newest[change.name] += 1
            self._changed.notify_all()
            return revision

    def wait(self, after: int, *, timeout_s: float) -> int:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._revisions) != after, timeout_s)
            return len(self._revisions)

    def report(self, state: ProcessState, *, lease_s: float) -> None:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            seen = replace(state, seen_at=datetime.now(UTC))
            self._processes[state.process_id] = seen, self._clock() + lease_s

    def processes(self) -> Sequence[ProcessState]:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            now = self._clock()
            return [state for _, (state, until) in sorted(self._processes.items()) if until > now]

    def withdraw(self, process_id: str) -> None:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            self._processes.pop(process_id, None)

    def close(self) -> None:
        """See :class:`service.revisions.RevisionStore`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _last(self, name: str) -> Revision | None:
        return next((each for each in reversed(self._revisions) if each.name == name), None)
