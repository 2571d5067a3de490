"""A change that an operator thinks about: read against what is in force and what is served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contract.errors import FormulaError
from contract.formula import FormulaWarning, check_units
from contract.fusion import AnyProfile, FusionProfile
from contract.weights import changed_weights
from service.errors import InvalidField
from service.ranking.kept import KeptModel
from service.ranking.preview import KeptCompiler

__all__ = ["Comparison", "InForceProfile", "Proposal", "compared"]


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What an operator would change.

    Args:
        profile: The whole proposed profile; None where only weights change.
        weights: New values of weights of the profile in force, by name.
        top_k: How many results count as shown.
        segment_by: A request field to tell requests apart by; None for no segments.
        max_requests: Requests that are ranked again at most.
    """

    profile: AnyProfile | None
    weights: Mapping[str, float]
    top_k: int
    segment_by: str | None
    max_requests: int


@dataclass(frozen=True, kw_only=True)
class InForceProfile:
    """The profile that requests are ranked by now, and its revision."""

    name: str
    revision: int
    profile: AnyProfile


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two profiles, both ready to be compared; *warnings* say what is odd in the proposed formula."""

    current: InForceProfile
    proposed: AnyProfile
    warnings: tuple[FormulaWarning, ...]


def compared(
    proposal: Proposal, current: InForceProfile, served: Sequence[KeptModel], compile_kept: KeptCompiler
) -> Comparison:
    """Check a proposal.

    Raises:
        FormulaError: When the proposed profile fits no served model, or a weight is not allowed.
        InvalidField: When requests cannot be told apart by the field.
    """
    proposed = proposal.profile or _with_weights(current.profile, proposal.weights)
    model = _first_that_fits(served, proposed, compile_kept)
    _check_segment(proposal.segment_by, served)
    warnings = check_units(proposed.formula, model.heads) if isinstance(proposed, FusionProfile) else ()
    return Comparison(current=current, proposed=proposed, warnings=warnings)


def _with_weights(current: AnyProfile, weights: Mapping[str, float]) -> AnyProfile:
    if not isinstance(current, FusionProfile):
        raise FormulaError("a learned profile has no weights", fix="propose a whole profile", path="/weights")
    return current.model_copy(update={"weights": changed_weights(current.weights, weights)})


def _first_that_fits(served: Sequence[KeptModel], profile: AnyProfile, compile_kept: KeptCompiler) -> KeptModel:
    errors: list[FormulaError] = []
    for model in served:
        try:
            compile_kept(profile, model)
        except FormulaError as error:
            errors.append(error)
        else:
            return model
    raise errors[0] if errors else FormulaError("no model is served to check the profile against")


def _check_segment(field: str | None, served: Sequence[KeptModel]) -> None:
    known = sorted({name for model in served for name in model.segments})
    if field is not None and field not in known:
        raise InvalidField(
            f"requests cannot be told apart by {field!r}",
            fix=f"name one of the request's fields: {', '.join(known) or 'there is none'}",
            path="/segment_by",
        )
