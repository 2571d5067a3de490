"""What a load run leaves: one sample a request, and the figures that are read from them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["BROKEN", "TIMED_OUT", "Load", "Sample"]

TIMED_OUT, BROKEN = 0, -1
"""What stands for a status where no answer came."""


_OK = 200


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request.

    Args:
        due_s: When it was meant to be sent, from the start of the run.
        sent_s: When it was sent.
        done_s: When its answer was whole, or given up.
        told_to_wait: Whether the answer carried Retry-After.
    """

    due_s: float
    sent_s: float
    done_s: float
    status: int
    told_to_wait: bool = False

    @property
    def latency_s(self) -> float:
        """From when it was meant to be sent: a request that had to wait for its turn to be sent has waited."""
        return self.done_s - self.due_s


@dataclass(frozen=True, kw_only=True)
class Load:
    """All requests of a run.

    Args:
        seconds: Length of the window that the samples are of.
    """

    samples: Sequence[Sample]
    seconds: float

    def rate(self, status: int = _OK) -> float:
        """Give answers of a status a second."""
        return self.statuses()[status] / self.seconds

    def goodput(self) -> float:
        """Give answers of status 200 a second that were whole within the window: a backlog's tail is none."""
        return sum(each.status == _OK and each.done_s <= self.seconds for each in self.samples) / self.seconds

    def statuses(self) -> Counter[int]:
        """Count the answers of each status."""
        return Counter(sample.status for sample in self.samples)

    def latency_ms(self, quantile: float, status: int = _OK) -> float:
        """Give a quantile of the latencies in milliseconds; endless where no answer has that status."""
        latencies = [sample.latency_s for sample in self.samples if sample.status == status]
        return float(np.quantile(latencies, quantile)) * 1e3 if latencies else math.inf
