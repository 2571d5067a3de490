"""Words that several rules use."""

__all__ = ["count", "error_of", "listed", "plus_minus"]


def error_of(standard_error: float | None) -> dict[str, float]:
    """Give the evidence of a standard error; nothing where there is none."""
    return {} if standard_error is None else {"standard_error": standard_error}


def plus_minus(standard_error: float | None) -> str:
    """Write a standard error behind its number."""
    return "" if standard_error is None else f" ± {standard_error:.2f}"


def count(number: int, what: str) -> str:
    """Write a number of things."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(names: list[str]) -> str:
    """Write names as a sentence has them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
