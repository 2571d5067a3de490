"""Learned fusions: a small ONNX graph over heads and fields, loaded once and held against its golden rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contract.arrays import FloatArray, IntArray
from contract.errors import ContractError, FormulaError
from contract.fusion import LearnedProfile, settle_non_finite
from contract.fusion_bundle import FEATURES_INPUT, SCORE_OUTPUT, FusionBundle, fusion_versions, read_fusion

__all__ = ["FusionShelf", "LearnedFusion"]

_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class LearnedFusion:
    """A learned profile, ready to run; see :class:`service.ports.Scorer`.

    Args:
        names: Heads and fields in the order of the graph's input.
    """

    profile: LearnedProfile
    names: tuple[str, ...]
    session: ort.InferenceSession

    @property
    def reads(self) -> frozenset[str]:
        """Heads and number fields that it reads."""
        return frozenset(self.names)

    def check_weights(self, values: Mapping[str, float]) -> None:
        """A learned profile has no weights.

        Raises:
            FormulaError: When any is given.
        """
        if values:
            name = min(values)
            raise FormulaError(
                f"a learned profile has no weight {name!r}", fix="leave the weights out", path=f"/weights/{name}"
            )

    def score(
        self,
        values: Mapping[str, Any],
        size: int,
        *,
        weights: Mapping[str, float] | None = None,
        lists: IntArray | None = None,
    ) -> tuple[FloatArray, int]:
        """Score candidates; each score depends on its own row alone, so that *lists* change nothing.

        Raises:
            ScoreError: When a score is not finite and the profile says to fail.
        """
        features = np.empty((size, len(self.names)), np.float32)
        for column, name in enumerate(self.names):
            features[:, column] = values[name]
        scores = _run(self.session, features).astype(np.float64)
        return settle_non_finite(scores, self.profile.non_finite, by=repr(self.profile.model))


class FusionShelf:
    """Opens learned fusions, each version once.

    Args:
        folder: ``<folder>/<name>/<version>/``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._open: dict[tuple[str, int], tuple[FusionBundle, ort.InferenceSession]] = {}

    def __reduce__(self) -> tuple[type["FusionShelf"], tuple[Path]]:
        """Travel to another process as the folder alone."""
        return FusionShelf, (self._folder,)

    def load(self, profile: LearnedProfile, *, name: str, variables: Mapping[str, str]) -> LearnedFusion:
        """Make a profile ready to run on a model. Blocking.

        Args:
            name: Of the model.
            variables: What formulas may read of it, and what each is.

        Raises:
            FormulaError: When there is no such version, it fails its golden rows, or the model lacks what it reads.
        """
        bundle, session = self._opened(profile)
        for feature in bundle.manifest.features:
            if _source(variables.get(feature.name, "")) != feature.source:
                raise FormulaError(
                    f"{profile.model!r} version {profile.version} reads the {feature.source} {feature.name!r}, which "
                    f"model {name!r} does not have",
                    fix=f"take a fusion that was fitted on the heads of {name!r}",
                    path="/model",
                )
        names = tuple(feature.name for feature in bundle.manifest.features)
        return LearnedFusion(profile=profile, names=names, session=session)

    def _opened(self, profile: LearnedProfile) -> tuple[FusionBundle, ort.InferenceSession]:
        key = profile.model, profile.version
        with self._lock:
            if key not in self._open:
                self._open[key] = self._read(*key)
            return self._open[key]

    def _read(self, name: str, version: int) -> tuple[FusionBundle, ort.InferenceSession]:
        path = self._folder / name / str(version)
        if not path.is_dir():
            known = ", ".join(map(str, fusion_versions(self._folder, name))) or "none"
            raise FormulaError(
                f"there is no learned fusion {name!r} version {version}",
                fix=f"versions of {name!r}: {known}; publish one with `fulcrum fuse fit`",
                path="/version",
            )
        try:
            bundle = read_fusion(path)
            session = _session(bundle)
            _check_golden(bundle, session)
        except ContractError as error:
            raise FormulaError(error.detail, fix=error.fix, path="/version") from error
        except Exception as error:
            raise FormulaError(
                f"{path} is no fusion that can run: {error}", fix="publish it again", path="/version"
            ) from error
        return bundle, session


def _source(description: str) -> str:
    """Give whether a variable is a head or a field; see :meth:`contract.manifest.Manifest.formula_variables`."""
    return next((source for source in ("head", "field") if source in description.split()), "")


def _session(bundle: FusionBundle) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # a few thousand small rows: handing them to threads costs more than it gives
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(bundle.model_path), options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, features: NDArray[np.float32]) -> NDArray[np.float32]:
    (scores,) = session.run([SCORE_OUTPUT], {FEATURES_INPUT: features})
    return np.asarray(scores).reshape(len(features))


def _check_golden(bundle: FusionBundle, session: ort.InferenceSession) -> None:
    golden = bundle.golden()
    scores = _run(session, golden.features)
    if not np.allclose(scores, golden.scores, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        worst = float(np.nanmax(np.abs(scores - golden.scores)))
        raise FormulaError(f"{bundle.path} differs from its golden rows by {worst:g}", fix="publish it again")
