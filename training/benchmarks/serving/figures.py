"""What a run measured, as documents: they are committed beside the page as JSON."""

from typing import Literal

from contract.frozen import Frozen
from training.benchmarks.serving.samples import Load

__all__ = ["OURS", "WORKLOADS", "Measured", "Overload", "Results", "Workload"]

OURS = "fulcrum"
Workload = Literal["inline fp32", "inline int8", "by id fp32", "by id int8", "naive", "alone", "mixed at 70 %"]
WORKLOADS: dict[Workload, tuple[str, bool]] = {
    "inline fp32": ("peers", False),
    "inline int8": ("peers-int8", False),
    "by id fp32": ("peers", True),
    "by id int8": ("peers-int8", True),
}
"""What our side is asked with 8 connections: model, and whether by id."""
_TOO_MANY = 429


class Measured(Frozen, ser_json_inf_nan="strings"):
    """One measurement.

    Args:
        round: From 0.
        rate: Answers with status 200 a second.
        p50_ms: Of answers with status 200; infinite where there were none.
        statuses: Answers of each status; 0 is a time-out, -1 a broken connection.
    """

    side: str
    workload: Workload
    round: int
    rate: float
    p50_ms: float
    p99_ms: float
    statuses: dict[int, int]

    @classmethod
    def of(cls, load: Load, *, side: str, workload: Workload, round_: int) -> "Measured":
        """Read the figures of a load run."""
        return cls(
            side=side,
            workload=workload,
            round=round_,
            rate=load.rate(),
            p50_ms=load.latency_ms(0.5),
            p99_ms=load.latency_ms(0.99),
            statuses=dict(load.statuses()),
        )


class Overload(Frozen):
    """One run at three times of what a side can do.

    Args:
        capacity: Answers a second of the same requests in a closed loop just before.
        goodput: Answers with status 200 a second that were whole before the arrivals ended.
        refusal_p99_ms: Of 429, from the moment when the request was due; None where there were none.
        told_to_wait: Part of the 429s that carry Retry-After.
    """

    side: str
    round: int
    capacity: float
    goodput: float
    refusal_p99_ms: float | None
    told_to_wait: float | None
    statuses: dict[int, int]

    @classmethod
    def of(cls, load: Load, *, side: str, round_: int, capacity: float) -> "Overload":
        """Read the figures of an open-loop run."""
        refused = [sample for sample in load.samples if sample.status == _TOO_MANY]
        told = sum(sample.told_to_wait for sample in refused)
        return cls(
            side=side,
            round=round_,
            capacity=capacity,
            goodput=load.goodput(),
            refusal_p99_ms=load.latency_ms(0.99, _TOO_MANY) if refused else None,
            told_to_wait=told / len(refused) if refused else None,
            statuses=dict(load.statuses()),
        )


class Results(Frozen):
    """All of a run.

    Args:
        bare: Calls a second of ONNX Runtime alone on the naive graph, one for each round.
        agreement: Largest difference of a score from ours in fp32, by peer.
        int8_correlation: Rank correlation of our int8 order with our fp32 order, by workload.
    """

    closed: tuple[Measured, ...]
    mixed: tuple[Measured, ...]
    overload: tuple[Overload, ...]
    bare: tuple[float, ...]
    agreement: dict[str, float]
    int8_correlation: dict[str, float]
