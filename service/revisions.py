"""What the control plane keeps: revisions of named documents, and who has applied them. Plain values.

A document is text here: what it means is known to whoever reads it (:mod:`service.ranking.fusions`,
:mod:`service.ranking.experiments`), so that a store never fails over a document that it need not understand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

__all__ = ["Action", "Change", "ProcessState", "Revision", "RevisionStore"]

Action = Literal["put", "weights", "rollback", "schedule", "cancel", "delete"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a writer asks to keep.

    Args:
        name: Of the document, with its family before it: ``fusion/default``, ``experiments/feed``.
        document: JSON, whole; never a difference.
        expected: Newest revision of the name that the writer has seen; 0 where it has seen none.
    """

    name: str
    document: str
    expected: int
    author: str
    reason: str = ""
    action: Action = "put"


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One kept change; revisions of a name only grow, from 1 and without gaps.

    Args:
        sequence: Place among all changes of the store, growing; a process that has applied it has all before it.
            No store on disk gives it twice, even where it has lost changes; a number of a name may then come again.
    """

    sequence: int
    name: str
    revision: int
    document: str
    author: str
    reason: str
    action: Action
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """How far one service process is.

    Args:
        process_id: Of this start of this process; no other ever has it.
        applied: Sequence up to which every change is in force there.
        seen_at: When it last said so, on the store's clock.
    """

    process_id: str
    host: str
    pid: int
    applied: int
    seen_at: datetime


class RevisionStore(Protocol):
    """Keeps every revision of every document, for all processes of a service. Blocking and thread-safe.

    Every method may raise :class:`service.errors.StoreUnavailable`; nothing has changed then.
    """

    def latest(self) -> Mapping[str, Revision]:
        """Give the newest readable revision of each name."""
        ...

    def history(self, name: str, *, before: int | None = None, limit: int = 100) -> Sequence[Revision]:
        """Give the readable revisions of a name, newest first, those below *before* where it is given."""
        ...

    def append(self, change: Change) -> Revision:
        """Keep a change durably, with the next number of its name and the next sequence of all.

        Raises:
            RevisionConflict: When the newest revision is not the one that the writer expected.
        """
        ...

    def wait(self, after: int, *, timeout_s: float) -> int:
        """Block until a change beyond sequence *after* is kept or the time is over; give the newest sequence.

        A sequence below *after* comes at once: the store has lost changes (it was begun anew, or put back from a copy);
        go on from the sequence that was given. A call that waits while the store is closed returns at once.
        """
        ...

    def report(self, state: ProcessState, *, lease_s: float) -> None:
        """Say how far a process is; after *lease_s* seconds without another word it counts as gone."""
        ...

    def processes(self) -> Sequence[ProcessState]:
        """Give the processes whose lease holds, by id."""
        ...

    def withdraw(self, process_id: str) -> None:
        """Take a process off the list, as it stops."""
        ...

    def close(self) -> None:
        """Release the store and wake who waits."""
        ...
