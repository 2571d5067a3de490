"""Which contenders are level with the best, and which of those is the simplest."""

from collections.abc import Iterable

from training.comparing.findings import Comparison, ContenderFindings
from training.comparing.spread import Spread, difference
from training.comparing.wording import listed

__all__ = ["ONE_GATE", "SIMPLEST_FIRST", "best_of", "compared", "is_ahead", "simplest_of_the_best", "ties"]

SIMPLEST_FIRST = ("shared_bottom", "omoe", "mmoe", "cgc", "ple")
"""Others come behind these, in the order asked for."""
ONE_GATE = ("shared_bottom", "omoe")
"""Architectures that give every task the same mixture."""


def simplest_of_the_best(comparison: Comparison) -> ContenderFindings | None:
    """Give the simplest contender that the best one is not ahead of; None where nothing was compared."""
    level = _level_with_the_best(comparison)
    return min(level, key=_complexity) if level else None


def _level_with_the_best(comparison: Comparison) -> list[ContenderFindings]:
    candidates = compared(comparison.sharing)
    if not candidates:
        return []
    best = best_of(candidates)
    return [each for each in candidates if not is_ahead(best, each)]


def _complexity(each: ContenderFindings) -> tuple[int, bool]:
    known = each.architecture in SIMPLEST_FIRST
    place = SIMPLEST_FIRST.index(each.architecture) if known else len(SIMPLEST_FIRST)
    return place, bool(each.weights)


def compared(contenders: Iterable[ContenderFindings]) -> list[ContenderFindings]:
    """Give those that have a mean gain over all tasks."""
    return [each for each in contenders if each.mean_gain is not None]


def best_of(contenders: Iterable[ContenderFindings]) -> ContenderFindings:
    """Give the contender with the highest mean gain, of some that have one."""
    return max(contenders, key=lambda each: _percent(each).mean)


def is_ahead(one: ContenderFindings, other: ContenderFindings) -> bool:
    """Tell whether one contender is ahead of another by more than one standard error; both have a mean gain."""
    return difference(_percent(one), _percent(other), higher_is_better=True).verdict == "gain"


def _percent(each: ContenderFindings) -> Spread:
    assert each.mean_gain is not None  # noqa: S101 - callers take those of compared()
    return each.mean_gain.percent


def ties(comparison: Comparison) -> str:
    """Name those that are level with the chosen one, as a sentence behind a sentence; nothing where there are none."""
    chosen = simplest_of_the_best(comparison)
    level = [each.name for each in _level_with_the_best(comparison) if each is not chosen]
    if not level:
        return ""
    are = "is" if len(level) == 1 else "are"
    return f" {listed(level)} {are} within one standard error of the best: take the simplest."
