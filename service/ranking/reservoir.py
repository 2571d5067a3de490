"""A bounded, fair sample of recent requests, for previews of a fusion.

Each request draws a number that stays with it, ``time / decay - log(-log(u))`` with u uniform in (0, 1), and those
with the greatest numbers are kept. That is weighted sampling without replacement (Efraimidis and Spirakis,
"Weighted random sampling with a reservoir", IPL 2006) under forward decay (Cormode, Shkapenyuk, Srivastava and Xu,
"Forward decay", ICDE 2009): a request that is *decay* seconds older is e times less likely to be among the kept.
Requests of one moment are equally likely whatever is in them, bursts and quiet hours need no tuning, and a request that
will not be kept costs one random number and one comparison.
"""

import heapq
import itertools
import math
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from threading import Condition, Lock, Thread
from types import TracebackType
from typing import Self

import structlog

from contract.arrays import FloatArray, Predictions
from service.ports import Assignment, Clock, RankedRequest, ServedModel
from service.ranking.kept import IdHash, KeptModel, KeptRequest, keep

__all__ = ["DECAY_S", "NoSampler", "Reservoir", "Snapshot"]

DECAY_S = 600.0
"""Seconds in which the chance to be kept falls by a factor of e; under steady heavy traffic half of what is kept is
younger than 0.69 of it."""

_MAX_WAITING_REQUESTS = 64
_MAX_WAITING_ROWS = 20_000
_REST = 9.0  # seconds of rest for one of work: filling an empty reservoir takes a tenth of a core at most
_REQUEST = itemgetter(2)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What was kept at one moment.

    Args:
        requests: In no order.
        taken_at: Monotonic seconds.
        is_on: False where the reservoir keeps nothing ever.
    """

    requests: tuple[KeptRequest, ...]
    taken_at: float
    is_on: bool


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Taken:
    """A request that was chosen and waits to be copied."""

    luck: float
    taken_at: float
    model: ServedModel
    request: RankedRequest
    by: Assignment
    heads: Predictions
    stored: Mapping[str, FloatArray]


class NoSampler:
    """Keeps nothing."""

    def offer(
        self,
        *,
        model: ServedModel,
        request: RankedRequest,
        by: Assignment,
        heads: Predictions,
        stored: Mapping[str, FloatArray],
    ) -> None:
        """Leave the request."""


class Reservoir:
    """Keeps recent requests; see :class:`service.ports.RequestSampler`. Usable from any thread.

    Choosing happens where the request is ranked. Copying and hashing happen in a thread of the reservoir's own,
    which runs between :meth:`__enter__` and :meth:`__exit__`.

    Args:
        max_requests: Requests that are kept at most; 0 keeps none.
        max_rows: Candidates that are kept at most, of all requests together; 0 keeps none.
        clock: Monotonic seconds.
        decay_s: See :data:`DECAY_S`.
        source: Of randomness.
        id_hash: Hashes item ids and whatever says who somebody is.
    """

    def __init__(
        self,
        *,
        max_requests: int,
        max_rows: int,
        clock: Clock,
        decay_s: float = DECAY_S,
        source: random.Random | None = None,
        id_hash: IdHash | None = None,
    ) -> None:
        self._max_requests = max_requests
        self._max_rows = max_rows
        self._clock = clock
        self._decay_s = decay_s
        self._draw = (source or random.Random()).random  # noqa: S311 - a sample, not a secret
        self._id_hash = id_hash or IdHash()
        self._least_luck = -math.inf if self.is_on else math.inf
        self._kept: list[tuple[float, int, KeptRequest]] = []
        self._ticket = itertools.count()
        self._rows = 0
        self._models: dict[tuple[str, int], KeptModel] = {}
        self._lock = Lock()
        self._waiting: deque[_Taken] = deque()
        self._waiting_rows = 0
        self._woken = Condition(Lock())
        self._closing = False
        self._thread: Thread | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is ever kept."""
        return self._max_requests > 0 and self._max_rows > 0

    @property
    def num_requests(self) -> int:
        """Requests that are kept now."""
        return len(self._kept)

    @property
    def num_rows(self) -> int:
        """Candidates that are kept now."""
        return self._rows

    def __enter__(self) -> Self:
        """Start to copy what is chosen."""
        if self.is_on:
            self._thread = Thread(target=self._work, name="fulcrum-reservoir", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Stop; what waits is dropped."""
        with self._woken:
            self._closing = True
            self._woken.notify_all()
        if self._thread is not None:
            self._thread.join()

    def offer(
        self,
        *,
        model: ServedModel,
        request: RankedRequest,
        by: Assignment,
        heads: Predictions,
        stored: Mapping[str, FloatArray],
    ) -> None:
        """Choose or pass over one request; see :class:`service.ports.RequestSampler`."""
        now = self._clock()
        luck = now / self._decay_s - math.log(-math.log(self._draw() or math.ulp(0.0)))
        if luck > self._least_luck:
            taken = _Taken(
                luck=luck,
                taken_at=now,
                model=model,
                request=request,
                by=by,
                heads=heads,
                stored=stored,
            )
            self._let_wait(taken, len(request.item_ids))

    def settle(self) -> None:
        """Copy all that waits, in the caller's thread."""
        while self._waiting:
            self._take_in()

    def snapshot(self) -> Snapshot:
        """Give what is kept now; later offers do not change it."""
        with self._lock:
            kept = tuple(map(_REQUEST, self._kept))
        return Snapshot(requests=kept, taken_at=self._clock(), is_on=self.is_on)

    def _let_wait(self, taken: _Taken, rows: int) -> None:
        """Queue a chosen request; beyond a small number it is dropped, as in the first second of a busy start."""
        with self._woken:
            full = len(self._waiting) >= _MAX_WAITING_REQUESTS or self._waiting_rows + rows > _MAX_WAITING_ROWS
            if not (full and self._waiting) and 0 < rows <= self._max_rows:
                self._waiting.append(taken)
                self._waiting_rows += rows
                self._woken.notify()

    def _work(self) -> None:
        while self._wait_for_work():
            begin = time.perf_counter()
            self._take_in()
            self._rest(_REST * (time.perf_counter() - begin))

    def _wait_for_work(self) -> bool:
        with self._woken:
            self._woken.wait_for(lambda: self._closing or self._waiting)
            return not self._closing

    def _rest(self, seconds: float) -> None:
        with self._woken:
            self._woken.wait_for(lambda: self._closing, seconds)

    def _take_in(self) -> None:
        with self._woken:
            if not self._waiting:
                return
            taken = self._waiting.popleft()
            self._waiting_rows -= len(taken.request.item_ids)
        try:
            if taken.luck > self._least_luck:
                self._insert(taken.luck, self._copy(taken))
        except Exception:  # noqa: BLE001 - a preview with one request fewer harms nobody, a dead thread ends them all
            _log.warning("request_not_kept", exc_info=True)

    def _copy(self, taken: _Taken) -> KeptRequest:
        manifest = taken.model.manifest
        key = (manifest.name, taken.model.version)
        if key not in self._models:
            self._models = self._models_in_use() | {key: KeptModel.of(manifest, taken.model.version)}
        return keep(
            taken.request,
            model=self._models[key],
            schema=manifest.features,
            by=taken.by,
            heads=taken.heads,
            stored=taken.stored,
            taken_at=taken.taken_at,
            id_hash=self._id_hash,
        )

    def _models_in_use(self) -> dict[tuple[str, int], KeptModel]:
        with self._lock:
            return {(request.model.name, request.model.version): request.model for *_, request in self._kept}

    def _insert(self, luck: float, request: KeptRequest) -> None:
        with self._lock:
            heapq.heappush(self._kept, (luck, next(self._ticket), request))
            self._rows += request.size
            while len(self._kept) > self._max_requests or self._rows > self._max_rows:
                # All above the greatest number that ever had to leave are here: the sample stays fair when requests
                # of different sizes push each other out.
                self._least_luck, _, gone = heapq.heappop(self._kept)
                self._rows -= gone.size
