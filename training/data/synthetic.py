"""Two tasks whose relation is known by construction, for the claim that gates help where tasks differ.

J. Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018, §3.2.
https://doi.org/10.1145/3219819.3220007

Equations, u1 and u2 orthonormal in R^D, p the cosine of the tasks' directions::

    w_1 = c u1,   w_2 = c (p u1 + sqrt(1 - p²) u2)
    x   ~ N(0, I_D)
    y_k = w_k·x + sum_i sin(alpha_i w_k·x + beta_i) + noise       noise ~ N(0, 0.01), variance

alpha and beta are given parameters in that paper, whose values it does not print, nor those of c and M.
:data:`FEW_WAVES` are ours. H. Tang et al. (PLE, RecSys 2020, https://doi.org/10.1145/3383313.3412236) draw alpha and
beta from N(0, 1) in the same experiment, with c = 1 and M = 10: ``waves=None`` does so too.

Shapes, T = 2 tasks: x ``[N, D]``, w ``[T, D]``, alpha and beta ``[M]``, y ``[N, T]``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import SideArrays
from contract.features import FeatureSchema, Numeric, Standard
from contract.tasks import RegressionTask
from training.data.columns import EncodedSplit

__all__ = ["DRAWN_WAVES", "FEW_WAVES", "NOISE_STD", "TASKS", "TaskPair", "encode", "schema"]

Array = NDArray[Any]
TASKS = (RegressionTask(name="first"), RegressionTask(name="second"))
NOISE_STD = 0.1
DRAWN_WAVES = 10
FEW_WAVES = ((2.0, 0.5), (4.0, 1.0))
"""Pairs of alpha and beta that are the same in every run, so that runs differ by directions and rows alone."""


@dataclass(frozen=True, kw_only=True)
class TaskPair:
    """Two tasks over the same inputs.

    Args:
        weights: ``[T, D]``.
        frequencies: alpha, ``[M]``, the same for both tasks.
        phases: beta, ``[M]``.
    """

    weights: Array
    frequencies: Array
    phases: Array

    @classmethod
    def draw(
        cls,
        correlation: float,
        *,
        seed: int,
        width: int = 100,
        scale: float = 1.0,
        waves: Sequence[tuple[float, float]] | None = None,
    ) -> "TaskPair":
        """Draw directions and waves.

        A seed gives the same directions and waves at every correlation, so that correlations can be compared run by
        run.

        Args:
            correlation: p, -1 to 1; 1 makes the tasks the same but for their noise.
            width: D, 2 or more.
            scale: c.
            waves: Pairs of alpha and beta; None draws :data:`DRAWN_WAVES` of them.
        """
        rng = np.random.default_rng(seed)
        first, other = np.linalg.qr(rng.normal(size=(width, 2)))[0].T
        second = correlation * first + np.sqrt(1.0 - correlation**2) * other
        frequencies, phases = np.transpose(waves) if waves is not None else rng.normal(size=(2, DRAWN_WAVES))
        return cls(weights=scale * np.stack([first, second]), frequencies=frequencies, phases=phases)

    def truth(self, x_ND: Array) -> Array:
        """Give what of y can be learnt, ``[N, T]``."""
        directed_NT = x_ND @ self.weights.T
        waves_NTM = np.sin(directed_NT[:, :, None] * self.frequencies + self.phases)
        return np.asarray(directed_NT + waves_NTM.sum(axis=2))

    def sample(self, rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw x, ``[N, D]``, and y, ``[N, T]``."""
        x_ND = rng.normal(size=(rows, self.weights.shape[1]))
        return x_ND, self.truth(x_ND) + NOISE_STD * rng.normal(size=(rows, 2))


def schema(width: int) -> FeatureSchema:
    """Name the columns of x: numbers of the candidate, as they are."""
    plain = Standard(mean=0.0, std=1.0)
    return FeatureSchema(
        fields=tuple(Numeric(name=f"x{i}", side="candidate", scaling=plain, default=0.0) for i in range(width)),
        vocabularies={},
    )


def encode(x_ND: Array, y_NT: Array) -> EncodedSplit:
    """Lay rows out as encoded splits are: each row a list of its own, so that batches are drawn row by row."""
    rows = len(x_ND)
    nothing = np.zeros((rows, 0), dtype=np.int64)
    return EncodedSplit(
        request=SideArrays(ids=nothing, dense=nothing.astype(np.float32)),
        candidate=SideArrays(ids=nothing, dense=x_ND.astype(np.float32)),
        offsets=np.arange(rows + 1),
        labels={task.name: y_NT[:, k].astype(np.float32) for k, task in enumerate(TASKS)},
        groups=np.arange(rows),
    )
