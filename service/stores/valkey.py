"""Revisions in Valkey (or Redis), for the processes of many machines: changes are pushed, and looked for regularly.

What is durable is the server's business: only with ``appendonly yes`` and ``appendfsync always`` has it written what it
answers. With ``everysec`` a crash takes back up to two seconds: it answers before it writes while an fsync runs
(https://valkey.io/topics/persistence/). See docs/how-to/share-the-fusion-store.md.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import RedisError

from service.errors import RevisionConflict, StoreUnavailable
from service.revisions import Change, ProcessState, Revision
from service.stores.pulse import Pulse, await_change
from service.stores.records import numbered, record_of
from service.stores.valkey_address import connect, parse_address
from service.stores.valkey_answers import alive, number_in, process_text, readable
from service.stores.valkey_errors import unavailable
from service.stores.valkey_listener import ValkeyListener
from service.stores.valkey_scripts import APPEND, HISTORY, LATEST, PROCESSES, REPORT

__all__ = ["ValkeyRevisionStore"]

_PAGE = 500
_ANY = 2**53


class ValkeyRevisionStore:
    """Keeps revisions on a server; see :class:`service.revisions.RevisionStore`.

    Every change is one script, so that it is kept whole or not at all. A change whose answer was lost may have been
    kept all the same: who tries it again is then refused, and finds it as the newest revision or further down.

    Args:
        client: Of the server; answers bytes, tries nothing twice.
        namespace: Of the keys, which share one hash tag and so one slot of a cluster.
        shown: The server's address for messages, without a password.
        reconcile_s: Seconds after which who waits asks for the newest sequence although nothing was pushed.
        close_s: Longest wait for the listener as the store closes.
    """

    def __init__(
        self, client: Redis, *, namespace: str, shown: str, reconcile_s: float = 5.0, close_s: float = 2.0
    ) -> None:
        prefix = f"fulcrum:{{{namespace}}}:"
        self._client = client
        self._shown = shown
        self._reconcile_s = reconcile_s
        self._close_s = close_s
        self._sequence, self._numbers = prefix + "sequence", prefix + "numbers"
        self._records, self._processes = prefix + "revisions", prefix + "processes"
        self._channel = prefix + "changes"
        self._pulse = Pulse()
        self._listener = ValkeyListener(client, self._channel, self._pulse, silence_s=reconcile_s)
        self._append = client.register_script(APPEND)
        self._latest = client.register_script(LATEST)
        self._history = client.register_script(HISTORY)
        self._report = client.register_script(REPORT)
        self._list = client.register_script(PROCESSES)

    @classmethod
    def open(cls, location: str, *, timeout_s: float = 1.0, reconcile_s: float = 5.0) -> "ValkeyRevisionStore":
        """Give the store at a URL; nothing is connected before it is needed.

        Args:
            timeout_s: Longest wait for a connection, and for an answer.

        Raises:
            StoreUnavailable: When the URL cannot be read.
        """
        address = parse_address(location)
        return cls(
            connect(address, timeout_s=timeout_s),
            namespace=address.namespace,
            shown=address.shown,
            reconcile_s=reconcile_s,
            close_s=2 * timeout_s,
        )

    def latest(self) -> Mapping[str, Revision]:
        """Give the newest readable revision of each name, in one round trip where none is damaged."""
        with self._asking():
            answer = self._latest([self._numbers, self._records])
        found = {}
        for raw_name, number, record in zip(*[iter(answer)] * 3, strict=True):
            name = raw_name.decode(errors="replace")
            newest = readable(record, name, int(number)) or self._newest(name)
            if newest is not None:
                found[name] = newest
        return found

    def history(self, name: str, *, before: int | None = None, limit: int = 100) -> Sequence[Revision]:
        """Give the readable revisions of a name, newest first."""
        below = _ANY if before is None else before
        found: list[Revision] = []
        while below > 1 and len(found) < limit:
            count = min(limit, _PAGE)
            with self._asking():
                top, *records = self._history([self._numbers, self._records], [name, below, count])
            numbered_down = zip(range(int(top), 0, -1), records, strict=False)
            found += [each for number, record in numbered_down if (each := readable(record, name, number)) is not None]
            below = int(top) - count + 1
        return found[:limit]

    def append(self, change: Change) -> Revision:
        """Keep a change in one step on the server.

        A damaged newest revision may be followed both by who has seen it while it was whole and by who sees the one
        before it.
        """
        revision, given = self._keep(change, following=change.expected)
        if revision is None:
            newest = self._newest(change.name)
            if change.expected == (newest.revision if newest else 0):
                revision, _ = self._keep(change, following=given)
            if revision is None:
                raise RevisionConflict.between(change, newest)
        self._pulse.beat()
        return revision

    def wait(self, after: int, *, timeout_s: float) -> int:
        """Ask for the newest sequence whenever the listener heard of something, and now and then without."""
        self._listener.start()
        return await_change(self._look, after, pulse=self._pulse, timeout_s=timeout_s, look_every_s=self._reconcile_s)

    def report(self, state: ProcessState, *, lease_s: float) -> None:
        """Say how far a process is; those whose lease is over are forgotten."""
        with self._asking():
            self._report([self._processes], [state.process_id, round(lease_s * 1_000), process_text(state)])

    def processes(self) -> Sequence[ProcessState]:
        """Give the processes whose lease holds on the server's clock, by id."""
        with self._asking():
            now_ms, records = self._list([self._processes])
        return alive(records, now_ms=int(now_ms))

    def withdraw(self, process_id: str) -> None:
        """Take a process off the list."""
        with self._asking():
            self._client.hdel(self._processes, process_id)

    def close(self) -> None:
        """Wake who waits, end the listener and close the connections."""
        self._pulse.close()
        self._listener.join(self._close_s)
        self._client.close()

    def _keep(self, change: Change, *, following: int) -> tuple[Revision | None, int]:
        """Keep a change if this number is the last one given; give it, or else None and the last one given."""
        asked = numbered(change, revision=following + 1, sequence=0, created_at=datetime.now(UTC))
        record = record_of(asked)
        del record["sequence"]  # the server gives it
        keys = [self._sequence, self._numbers, self._records]
        with self._asking(changes=True):
            kept, number = self._append(keys, [change.name, following, json.dumps(record), self._channel])
        return (replace(asked, sequence=int(number)), following + 1) if kept else (None, int(number))

    def _newest(self, name: str) -> Revision | None:
        return next(iter(self.history(name, limit=1)), None)

    def _look(self) -> int:
        with self._asking():
            return number_in(self._client.get(self._sequence))

    @contextmanager
    def _asking(self, *, changes: bool = False) -> Iterator[None]:
        """Turn every error of the server and the network into the store's own.

        Args:
            changes: The server may have done what was asked although its answer is lost.
        """
        if self._pulse.closed:
            raise StoreUnavailable("the store is closed", fix="nothing to do: the process stops")
        try:
            yield
        except (RedisError, OSError) as error:
            raise unavailable(error, self._shown, changes=changes) from error
