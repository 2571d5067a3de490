"""Traffic against a real batcher over a pretended graph, in virtual time."""

import asyncio
import math
import random
from dataclasses import dataclass, field

import numpy as np

from contract.arrays import GraphInputs, SideArrays
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded
from service.runtime.batcher import Batcher
from service.runtime.cost import Cost, CostModel
from tests.fakes import Recorder
from tests.virtual_time import VirtualExecutor, run_virtually

TRUE_COST = Cost(call_s=0.0005, row_s=8e-6, request_s=1e-4)


@dataclass(frozen=True, kw_only=True)
class Customer:
    """One request of the traffic; times in seconds.

    Args:
        patience: From arrival to deadline; None never expires.
        leaves_after: From arrival to cancelling; None stays.
    """

    arrives: float
    rows: int
    patience: float | None = None
    leaves_after: float | None = None
    is_poisoned: bool = False

    @property
    def deadline(self):
        return math.inf if self.patience is None else self.arrives + self.patience


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of it: ``answered``, ``refused``, ``late``, ``failed`` or ``left``, and when."""

    kind: str
    at: float
    scores: list = field(default_factory=list)
    error: Exception | None = None


class PretendedGraph:
    """Scores row *n* of customer *c* as ``10_000 c + n``; takes what the true cost says, times a factor.

    Args:
        factors: One a call, in order.
    """

    def __init__(self, cost, factors):
        self._cost = cost
        self._factors = iter(factors)
        self.calls = []
        self.seconds = 0.0

    def run(self, inputs):
        customers, rows = inputs.request.dense, len(inputs.request_index)
        self.seconds = self._cost.seconds(rows, len(customers)) * next(self._factors)
        self.calls.append((rows, [int(number) for number in customers[:, 0]]))
        if customers[:, 1].any():
            raise ValueError("poisoned")
        return {"score": scores_of(customers[inputs.request_index, 0], inputs.candidate.dense[:, 0])}


def scores_of(customer, row):
    return np.float32(10_000) * customer + row


def inputs_of(number, customer):
    request = np.array([[number, customer.is_poisoned]], dtype=np.float32)
    candidate = np.arange(customer.rows, dtype=np.float32)[:, None]
    return GraphInputs.single(
        SideArrays(ids=np.zeros((1, 0), np.int64), dense=request),
        SideArrays(ids=np.zeros((customer.rows, 0), np.int64), dense=candidate),
    )


def alone(number, customer):
    """Give what a customer is answered when nobody else is there."""
    return PretendedGraph(TRUE_COST, [1.0]).run(inputs_of(number, customer))["score"].tolist()


class Simulation:
    """A batcher in virtual time.

    Args:
        true_cost: What graph calls take; times a factor each.
        believed: What the batcher thinks at first.
        breaks: Asked before every graph call for an error to raise in its place.
    """

    def __init__(
        self,
        *,
        true_cost=TRUE_COST,
        believed=TRUE_COST,
        factors=None,
        breaks=lambda: None,
        workers=1,
        max_batch_rows=2048,
        max_waiting_rows=50_000,
        max_queue_wait_s=0.1,
    ):
        self.graph = PretendedGraph(true_cost, factors or iter(lambda: 1.0, None))
        self.executor = VirtualExecutor(lambda: self.graph.seconds, breaks=breaks)
        self.observer = Recorder()
        self.model = CostModel(believed)
        self.max_batch_rows = max_batch_rows
        self._now = lambda: asyncio.get_running_loop().time()
        self.batcher = Batcher(
            self.graph.run,
            max_batch_rows=max_batch_rows,
            max_waiting_rows=max_waiting_rows,
            max_queue_wait_s=max_queue_wait_s,
            workers=workers,
            clock=self._now,
            observer=self.observer,
            model=self.model,
            executor=self.executor,
        )

    def run(self, customers):
        """Give one outcome a customer, in order; they are ordered by arrival."""
        return run_virtually(self._run(customers))

    async def _run(self, customers):
        visits = []
        for number, customer in enumerate(customers):
            await asyncio.sleep(customer.arrives - self._now())  # in virtual time
            visits.append(asyncio.create_task(self._visit(number, customer)))
        outcomes = await asyncio.gather(*visits)
        await self.batcher.aclose()
        return outcomes

    async def _visit(self, number, customer):
        deadline = None if customer.patience is None else customer.deadline
        work = asyncio.create_task(self.batcher.submit(inputs_of(number, customer), deadline=deadline))
        if customer.leaves_after is not None:
            asyncio.get_running_loop().call_later(customer.leaves_after, work.cancel)
        try:
            answer = await work
        except Overloaded as error:
            return Outcome(kind="refused", at=self._now(), error=error)
        except DeadlineExceeded as error:
            return Outcome(kind="late", at=self._now(), error=error)
        except InferenceFailed as error:
            return Outcome(kind="failed", at=self._now(), error=error)
        except asyncio.CancelledError:
            return Outcome(kind="left", at=self._now())
        return Outcome(kind="answered", at=self._now(), scores=answer.heads["score"].tolist())


def poisson(*, rate, count, patience=lambda rng: None, seed=0, rows=(50, 1000)):
    """Make customers who come at random, *rate* a second, with lists of random length."""
    rng, now, customers = random.Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(rate)
        customers.append(Customer(arrives=now, rows=rng.randint(*rows), patience=patience(rng)))
    return customers


def noise(sigma, seed=0):
    """Give factors around one, for ever."""
    rng = random.Random(seed)
    while True:
        yield math.exp(rng.gauss(0.0, sigma))


def capacity(**settings):
    """Give requests a second of a batcher that always has enough to do."""
    everyone = poisson(rate=1e9, count=2000)
    simulation = Simulation(**settings, max_queue_wait_s=math.inf, max_waiting_rows=10**9)
    return len(everyone) / max(outcome.at for outcome in simulation.run(everyone))
