"""Profiles made ready to run on a model, of either kind."""

from collections.abc import Callable

from contract.errors import FormulaError
from contract.fusion import AnyProfile, FusionProfile, LearnedProfile, compile_fusion
from service.ports import Scorer, ServedModel

__all__ = ["ProfileCompiler"]

LearnedLoader = Callable[[LearnedProfile, ServedModel], Scorer]


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
        if isinstance(profile, FusionProfile):
            return compile_fusion(profile, model.manifest.formula_variables())
        if self._load is None:
            raise FormulaError(
                "learned profiles are not served here", fix="set FULCRUM_FUSIONS_DIR to a folder of fusion bundles"
            )
        return self._load(profile, model)
