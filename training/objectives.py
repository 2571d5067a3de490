"""Objectives and debiasing by name, as a user writes them: ``--objective d2q --objective-option by=length_seconds``."""

from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import ValidationError

from contract.durations import Cread, D2q, FittedField, LogHuber, LogMse, Objective, Transun, Wlr, Ziln
from contract.frozen import Frozen
from training.config import DebiasKind
from training.errors import InvalidOption

__all__ = ["DEBIASINGS", "OBJECTIVES", "debias_named", "make_objective", "options_of"]

OBJECTIVES: Mapping[str, type[Frozen]] = {
    str(each.model_fields["kind"].default): each for each in (LogMse, LogHuber, Ziln, Wlr, D2q, Cread, Transun)
}

DEBIASINGS: tuple[str, ...] = get_args(DebiasKind)


def options_of(kind: str) -> dict[str, Any]:
    """Give what a user may choose of an objective, with its default; what training fits is not among it."""
    return {
        name: field.default
        for name, field in OBJECTIVES[kind].model_fields.items()
        if name != "kind" and not any(isinstance(mark, FittedField) for mark in field.metadata)
    }


def make_objective(kind: str, options: Mapping[str, Any]) -> Objective:
    """Make an objective, not yet fitted.

    Raises:
        InvalidOption: When there is no such objective or option, or a value is out of range.
    """
    if kind not in OBJECTIVES:
        raise InvalidOption(f"there is no objective {kind!r}", fix=f"known: {', '.join(OBJECTIVES)}")
    known = options_of(kind)
    fix = f"its options are: {', '.join(known) or 'none'}"
    if unknown := sorted(options.keys() - known.keys()):
        raise InvalidOption(f"{kind} has no option {unknown[0]!r}", fix=fix)
    try:
        return cast("Objective", OBJECTIVES[kind].model_validate(dict(options)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidOption(f"option {first['loc'][0]!r} of {kind}: {first['msg']}", fix=fix) from None


def debias_named(kind: str | None) -> DebiasKind | None:
    """Check the name of a debiasing; None leaves the choice to the objective.

    Raises:
        InvalidOption: When there is no such debiasing.
    """
    if kind is not None and kind not in DEBIASINGS:
        raise InvalidOption(f"there is no debiasing {kind!r}", fix=f"known: {', '.join(DEBIASINGS)}")
    return cast("DebiasKind | None", kind)
