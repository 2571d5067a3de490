"""Hears of changes from Valkey: one subscriber in a thread of its own, which connects again for as long as it takes."""

import random
import time
from threading import Lock, Thread

from redis import Redis
from redis.client import PubSub
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError

from service.stores.pulse import Pulse

__all__ = ["ValkeyListener"]

_STEP_S = 0.2  # how late the thread sees that it is to end
_PAUSE_S = (0.05, 0.5)


class ValkeyListener:
    """Beats at every change, and whenever a change may have been missed: a connection was lost, or is there again.

    Args:
        client: To subscribe with.
        channel: To listen to.
        pulse: To beat; closing it ends the thread.
        silence_s: After so long without a word the server is asked for one; after twice that it counts as lost.
    """

    def __init__(self, client: Redis, channel: str, pulse: Pulse, *, silence_s: float) -> None:
        self._client = client
        self._channel = channel
        self._pulse = pulse
        self._silence_s = silence_s
        self._step_s = min(_STEP_S, silence_s / 2)
        self._starting = Lock()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._starting:
            if self._thread is None and not self._pulse.closed:
                self._thread = Thread(target=self._run, name="fulcrum-valkey-listener", daemon=True)
                self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread; the pulse is closed."""
        with self._starting:
            if self._thread is not None:
                self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._pulse.closed:
            try:
                with self._client.pubsub() as subscriber:  # type: ignore[no-untyped-call]  # of redis-py
                    subscriber.subscribe(self._channel)
                    self._listen(subscriber)
            except (RedisError, OSError):
                self._pulse.beat()
                # Spread, so that a fleet does not come back all at once.
                self._pulse.rest(random.uniform(*_PAUSE_S))  # noqa: S311

    def _listen(self, subscriber: PubSub) -> None:
        """Beat at every message; the first one says that the subscription stands.

        Raises:
            RedisError: When the connection is lost.
        """
        heard = asked = time.monotonic()
        while not self._pulse.closed:
            message = subscriber.get_message(timeout=self._step_s)
            now = time.monotonic()
            if message is not None:
                heard = now
                if message["type"] != "pong":
                    self._pulse.beat()
            elif now - heard > 2 * self._silence_s:
                raise LostConnection("the server is silent")
            elif now - max(heard, asked) > self._silence_s:
                asked = now
                subscriber.ping()
