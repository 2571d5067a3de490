"""How the language says no: the place in the text, what is wrong there, and how to mend it."""

import difflib
from collections.abc import Iterable

from contract.errors import FormulaError
from contract.formula.grammar import MAX_DEPTH

__all__ = ["nearest", "refused", "too_deep"]

_ALLOWED = "use numbers, names, + - * / **, comparisons and the listed functions"


def refused(position: int, what: str, *, fix: str = _ALLOWED) -> FormulaError:
    """Make the error for a *position*, counted from 1."""
    return FormulaError(f"at character {position}: {what}", fix=fix, path="/formula")


def too_deep(position: int = 1) -> FormulaError:
    """Make the error for a formula that is nested too deep."""
    return refused(
        position,
        f"the formula is nested more than {MAX_DEPTH} levels deep",
        fix="flatten it; a long sum counts one level a term unless parentheses group its terms",
    )


def nearest(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Ask for the known name that *name* was probably meant to be; say *otherwise* where none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
