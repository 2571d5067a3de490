"""Profiles made ready to run on a model, of either kind."""

from collections.abc import Mapping
from typing import Protocol

from contract.errors import FormulaError
from contract.fusion import AnyProfile, FusionProfile, LearnedProfile, compile_fusion
from service.ports import Scorer, ServedModel

__all__ = ["LearnedLoader", "ProfileCompiler", "compiled"]


class LearnedLoader(Protocol):
    """Opens learned profiles."""

    def __call__(self, profile: LearnedProfile, *, name: str, variables: Mapping[str, str]) -> Scorer:
        """Make a profile ready to run on the model of that name and variables."""
        ...


class ProfileCompiler:
    """Compiles formulas itself and has learned profiles loaded; see :class:`service.ports.FusionCompiler`.

    Args:
        load: Opens a learned profile; None where no folder of fusion bundles is set.
    """

    def __init__(self, load: LearnedLoader | None = None) -> None:
        self._load = load

    def __call__(self, profile: AnyProfile, model: ServedModel) -> Scorer:
        """Compile.

        Raises:
            FormulaError: When the profile does not fit the model.
        """
        manifest = model.manifest
        return compiled(profile, name=manifest.name, variables=manifest.formula_variables(), load=self._load)


def compiled(profile: AnyProfile, *, name: str, variables: Mapping[str, str], load: LearnedLoader | None) -> Scorer:
    """Make a profile ready to run on the model of a name and of variables.

    Raises:
        FormulaError: When the profile does not fit the model.
    """
    if isinstance(profile, FusionProfile):
        return compile_fusion(profile, variables)
    if load is None:
        raise FormulaError(
            "learned profiles are not served here", fix="set FULCRUM_FUSIONS_DIR to a folder of fusion bundles"
        )
    return load(profile, name=name, variables=variables)
