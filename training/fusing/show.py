"""What a person looks at first, on the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from training.fusing.contenders import Comparison
from training.fusing.intervals import Interval
from training.fusing.search import SearchDocument

__all__ = ["show_change", "show_comparison", "show_search", "signed", "spanned"]


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print every contender's NDCG and its difference from the reference."""
    table = Table("ranking", comparison.yardstick.told("utility"), f"against {comparison.reference}", "")
    for each in comparison.contenders:
        is_reference = each.name == comparison.reference
        told = "" if is_reference or each.difference.excludes_zero else "not told apart"
        name = f"{each.name}: {each.formula}" if each.formula else each.name
        table.add_row(name, spanned(each.value), "" if is_reference else signed(each.difference), told)
    console.print(table)
    console.print(
        f"95 % intervals over {comparison.judged_requests:,} of {comparison.requests:,} later requests, "
        "those that tell rankings apart"
    )


def show_search(document: SearchDocument, console: Console) -> None:
    """Print the found points and how each did on later requests, beside the current profile."""
    config = document.config
    table = Table("point", *document.now.weights, *(_headed(document, u) for u in range(len(config.utilities))))
    for name, point in [("current", document.now), *((str(i), each) for i, each in enumerate(document.points))]:
        weights = [f"{value:.4g}" for value in point.weights.values()]
        measured = [
            f"{own.value:.4f}" if name == "current" else f"{own.value:.4f} ({signed(change)})"
            for own, change in zip(point.later, point.change, strict=True)
        ]
        table.add_row(name, *weights, *measured)
    console.print(table)
    console.print(
        f"searched {document.searched_requests:,} requests, {len(document.trials):,} trials; "
        f"the table is of {document.later_requests:,} later ones, changes with 95 % intervals"
    )


def _headed(document: SearchDocument, utility: int) -> str:
    config = document.config
    return config.yardstick.told(config.utilities[utility].formula)


def show_change(before: Mapping[str, float], after: Mapping[str, float], console: Console) -> None:
    """Print weights that were replaced."""
    table = Table("weight", "before", "after")
    for name, value in after.items():
        table.add_row(name, f"{before.get(name, float('nan')):g}", f"{value:g}")
    console.print(table)


def spanned(interval: Interval) -> str:
    """Write a mean with its interval."""
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def signed(interval: Interval) -> str:
    """Write a difference with its interval."""
    return f"{interval.value:+.4f}, {interval.low:+.4f} to {interval.high:+.4f}".replace("-", "−")
