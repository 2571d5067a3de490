"""Which number a task is judged by, and which way it points."""

from dataclasses import dataclass

__all__ = ["Yardstick", "headline", "yardsticks"]


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """One number of :func:`training.report.task_report`.

    Args:
        metric: Its name there.
        title: For people.
    """

    metric: str
    title: str
    higher_is_better: bool


_AUC = Yardstick(metric="auc", title="AUC", higher_is_better=True)
_LOG_LOSS = Yardstick(metric="log_loss", title="log loss", higher_is_better=False)
_MAE_LOG = Yardstick(metric="mae_log", title="MAE of log seconds", higher_is_better=False)
_MAE = Yardstick(metric="mae", title="MAE", higher_is_better=False)
_XAUC = Yardstick(metric="xauc", title="XAUC", higher_is_better=True)
_BY_KIND: dict[str, tuple[Yardstick, ...]] = {
    "binary": (_AUC, _LOG_LOSS),
    "duration": (_MAE_LOG, _XAUC),
    "count": (_MAE, _XAUC),
    "regression": (_MAE, _XAUC),
}


def yardsticks(kind: str) -> tuple[Yardstick, ...]:
    """Give the numbers of a kind of task; the first decides, the second stands beside it."""
    return _BY_KIND[kind]


def headline(kind: str) -> Yardstick:
    """Give the number that decides."""
    return _BY_KIND[kind][0]
