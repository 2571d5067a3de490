"""Earlier impressions to fit on, later ones to judge on; no request in both."""

import numpy as np

from training.errors import LogError
from training.fusing.log import ImpressionLog

__all__ = ["check_later", "ending_before", "time_split"]


def time_split(log: ImpressionLog, share: float) -> tuple[ImpressionLog, ImpressionLog]:
    """Cut a log at the moment before which about *share* of its requests happened.

    Requests of that very moment are all on the later side, so that no moment is on both.

    Raises:
        LogError: When one side would be empty.
    """
    moment = log.times[min(log.num_requests - 1, round(log.num_requests * share))]
    cut = int(np.searchsorted(log.times, moment, side="left"))
    if not 0 < cut < log.num_requests:
        raise LogError(
            f"{log.num_requests} requests from {log.times[0]} to {log.times[-1]} cannot be split at share {share:g}",
            fix="bring more requests, of more than one moment",
        )
    return log.span(0, cut), log.span(cut, log.num_requests)


def ending_before(earlier: ImpressionLog, later: ImpressionLog) -> tuple[ImpressionLog, int]:
    """Leave out the requests of the earlier log that happened once the later one had begun; gives how many.

    Raises:
        LogError: When none is left.
    """
    kept = int(np.searchsorted(earlier.times, later.times[0], side="left"))
    if not kept:
        raise LogError(
            f"the log to judge on begins at {later.times[0]}, before the log to fit on",
            fix="fit on the earlier one and judge on the later one",
        )
    return earlier.span(0, kept), earlier.num_requests - kept


def check_later(earlier: ImpressionLog, later: ImpressionLog) -> None:
    """Refuse a pair of logs whose second one is not wholly later.

    Raises:
        LogError: When they overlap in time, share a request, or have other columns.
    """
    if earlier.document.columns() != later.document.columns():
        raise LogError("the two logs have other columns", fix="score both splits with the same model")
    shared = np.intersect1d(earlier.requests, later.requests)
    if len(shared):
        raise LogError(f"{len(shared)} requests are in both logs, {shared[0]!r} among them", fix="keep them in one")
    if later.times[0] <= earlier.times[-1]:
        raise LogError(
            f"the log to judge on begins at {later.times[0]}, before the log to fit on ends at {earlier.times[-1]}",
            fix="fit on the earlier one and judge on the later one",
        )
