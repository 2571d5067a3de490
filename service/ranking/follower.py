"""Keeps this process's books at the state of the store, and tells the store how far it is."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import Protocol

from service.errors import StoreUnavailable, UnreadableDocument
from service.revisions import ProcessState, Revision, RevisionStore
from service.telemetry.logging import get_logger

__all__ = ["Book", "Follower", "FollowerState", "Memory"]

_HISTORY = 50
"""Revisions that are tried, newest first, for one that can be read."""


class Book(Protocol):
    """What is made of one family of documents."""

    family: str

    def apply(self, revision: Revision, *, replace: bool = False) -> None:
        """Put a revision in force; see :meth:`service.ranking.fusions.FusionBook.apply`."""
        ...

    def revision_of(self, name: str) -> int:
        """Give the revision of a document that is in force; 0 where there is none."""
        ...


class Memory(Protocol):
    """Keeps what the store last said outside of it, for a start while it is gone."""

    def save(self, latest: Mapping[str, Revision]) -> None:
        """Keep it; never raises."""
        ...

    def load(self) -> Mapping[str, Revision]:
        """Give it; empty where there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class FollowerState:
    """Where the follower stands, for probes and metrics.

    Args:
        applied: Sequence up to which every change is in force.
        problem: What is wrong with the store; "" while it answers.
        unreadable: Documents whose newest revision cannot be read, and why; their last good one serves.
    """

    applied: int = 0
    problem: str = "not read yet"
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_up(self) -> bool:
        """Whether the store answered when it was last asked."""
        return not self.problem


class Follower:
    """Waits for changes in a thread of its own.

    Args:
        store: What it follows.
        books: What it keeps up to date.
        process: Who it reports as.
        heartbeat_s: Seconds between two reports at most; a process that misses three counts as gone.
        on_change: Told of every new state, from the follower's thread.
        memory: What to start from while the store is gone; None starts with nothing then.
    """

    def __init__(
        self,
        *,
        store: RevisionStore,
        books: Sequence[Book],
        process: ProcessState,
        heartbeat_s: float,
        on_change: Callable[[FollowerState], None] = lambda state: None,
        memory: Memory | None = None,
    ) -> None:
        self._store = store
        self._books = books
        self._process = process
        self._heartbeat_s = heartbeat_s
        self._on_change = on_change
        self._memory = memory
        self._closing = Event()
        self._thread: Thread | None = None
        self.state = FollowerState()

    async def start(self) -> None:
        """Read the store once, then follow it; a store that does not answer is tried again in the background."""
        await asyncio.to_thread(self._first_look)
        self._thread = Thread(target=self._follow, name="fulcrum-follower", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Take this process off the store's list, close the store and stop following it."""
        self._closing.set()
        await asyncio.to_thread(self._leave)

    def _leave(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            self._store.withdraw(self._process.process_id)
        self._store.close()  # wakes the thread
        if self._thread is not None:
            self._thread.join()

    def _first_look(self) -> None:
        if self._attempt(lambda: self._catch_up(self._store.wait(0, timeout_s=0.0))) or self._memory is None:
            return
        if remembered := self._memory.load():
            self._unreadable(remembered, replace=False)
            get_logger().warning("revision_store", up=False, started_from="the last good revisions")

    def _follow(self) -> None:
        while not self._closing.is_set():
            if not self._attempt(self._wait_and_catch_up):
                self._closing.wait(self._heartbeat_s)

    def _wait_and_catch_up(self) -> None:
        newest = self._store.wait(self.state.applied, timeout_s=self._heartbeat_s)
        if newest != self.state.applied or not self.state.is_up:
            self._catch_up(newest)
        else:
            self._report(newest)

    def _catch_up(self, newest: int) -> None:
        """Put in force what the store has, which is everything up to *newest* at least."""
        latest = self._store.latest()
        # After a silence, or below what was applied, the store has lost changes; what it has now is what all agree on.
        lost = not self.state.is_up or newest < self.state.applied
        unreadable = dict(self._unreadable(latest, replace=lost))
        # The newest one may be damaged, and so not among them: it counts, or the next wait would end at once for ever.
        applied = max([newest, *(revision.sequence for revision in latest.values())])
        self._set(FollowerState(applied=applied, problem="", unreadable=unreadable))
        if self._memory is not None and not unreadable:
            self._memory.save(latest)
        self._report(applied)

    def _unreadable(self, latest: Mapping[str, Revision], *, replace: bool) -> list[tuple[str, str]]:
        """Apply everything; give what could not be read, whose last good revision is put in force instead."""
        problems = []
        for book in self._books:
            for name, revision in latest.items():
                if name.startswith(book.family) and (problem := self._apply(book, revision, replace=replace)):
                    problems.append((name, problem))
        return problems

    def _apply(self, book: Book, revision: Revision, *, replace: bool) -> str:
        try:
            book.apply(revision, replace=replace)
        except UnreadableDocument as error:
            if not book.revision_of(revision.name):
                self._apply_last_good(book, revision)
            return error.detail
        return ""

    def _apply_last_good(self, book: Book, newest: Revision) -> None:
        for revision in self._store.history(newest.name, before=newest.revision, limit=_HISTORY):
            try:
                book.apply(revision)
            except UnreadableDocument:
                continue
            return

    def _report(self, applied: int) -> None:
        if self._closing.is_set():
            return
        state = replace(self._process, applied=applied)
        self._store.report(state, lease_s=3.0 * self._heartbeat_s)

    def _attempt(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except StoreUnavailable as error:
            self._set(replace(self.state, problem=error.detail))
            return False
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever a store or a document does
            get_logger().exception("following the store failed")
            self._set(replace(self.state, problem=f"{type(error).__name__}: {error}"))
            return False
        return True

    def _set(self, state: FollowerState) -> None:
        if self._closing.is_set():
            return
        was, self.state = self.state, state
        if was.is_up != state.is_up or was.unreadable != state.unreadable:
            get_logger().warning(
                "revision_store", up=state.is_up, problem=state.problem, unreadable=dict(state.unreadable)
            )
        self._on_change(state)
