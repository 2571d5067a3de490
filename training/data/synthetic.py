"""Two tasks whose relation is known by construction, for the claim that gates help where tasks differ.

J. Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018, §3.2.
https://doi.org/10.1145/3219819.3220007

Equations, u1 and u2 orthonormal in R^D, p the cosine of the tasks' directions::

    w_1 = c u1,   w_2 = c (p u1 + sqrt(1 - p²) u2)
    x   ~ N(0, I_D)
    y_k = w_k·x + sum_i sin(alpha_i w_k·x + beta_i) + noise       noise ~ N(0, 0.01), variance

The paper leaves c, M, alpha and beta open. The defaults are those that H. Tang et al. (PLE, RecSys 2020,
https://doi.org/10.1145/3383313.3412236) give for the same experiment: c = 1, M = 10 waves, alpha and beta ~ N(0, 1).

Shapes: x ``[N, D]``, w ``[2, D]``, alpha and beta ``[M]``, y ``[N, 2]``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import SideArrays
from contract.features import FeatureSchema, Numeric, Standard
from contract.tasks import RegressionTask
from training.data.columns import EncodedSplit

__all__ = ["TASKS", "TaskPair", "encode", "schema"]

Array = NDArray[Any]
TASKS = (RegressionTask(name="first"), RegressionTask(name="second"))
NOISE_STD = 0.1


@dataclass(frozen=True, kw_only=True)
class TaskPair:
    """Two tasks over the same inputs.

    Args:
        weights: ``[2, D]``.
        frequencies: alpha, ``[M]``, the same for both tasks.
        phases: beta, ``[M]``.
    """

    weights: Array
    frequencies: Array
    phases: Array

    @classmethod
    def draw(cls, correlation: float, *, seed: int, width: int = 100, scale: float = 1.0, waves: int = 10) -> "TaskPair":
        """Draw directions and waves.

        A seed gives the same directions and waves at every correlation, so that correlations can be compared run by
        run.

        Args:
            correlation: p, -1 to 1; 1 makes the tasks the same but for their noise.
            width: D, 2 or more.
            scale: c.
            waves: M.
        """
        rng = np.random.default_rng(seed)
        first, other = np.linalg.qr(rng.normal(size=(width, 2)))[0].T
        second = correlation * first + np.sqrt(1.0 - correlation**2) * other
        return cls(
            weights=scale * np.stack([first, second]), frequencies=rng.normal(size=waves), phases=rng.normal(size=waves)
        )

    def truth(self, x_ND: Array) -> Array:
        """Give what of y can be learnt, ``[N, 2]``."""
        directed_N2 = x_ND @ self.weights.T
        waves_N2M = np.sin(directed_N2[:, :, None] * self.frequencies + self.phases)
        return np.asarray(directed_N2 + waves_N2M.sum(axis=2))

    def sample(self, rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw x, ``[N, D]``, and y, ``[N, 2]``."""
        x_ND = rng.normal(size=(rows, self.weights.shape[1]))
        return x_ND, self.truth(x_ND) + NOISE_STD * rng.normal(size=(rows, 2))


def schema(width: int) -> FeatureSchema:
    """Name the columns of x: numbers of the candidate, as they are."""
    plain = Standard(mean=0.0, std=1.0)
    return FeatureSchema(
        fields=tuple(Numeric(name=f"x{i}", side="candidate", scaling=plain, default=0.0) for i in range(width)),
        vocabularies={},
    )


def encode(x_ND: Array, y_N2: Array) -> EncodedSplit:
    """Lay rows out as encoded splits are: each row a list of its own, so that batches are drawn row by row."""
    rows = len(x_ND)
    nothing = np.zeros((rows, 0), dtype=np.int64)
    return EncodedSplit(
        request=SideArrays(ids=nothing, dense=nothing.astype(np.float32)),
        candidate=SideArrays(ids=nothing, dense=x_ND.astype(np.float32)),
        offsets=np.arange(rows + 1),
        labels={task.name: y_N2[:, k].astype(np.float32) for k, task in enumerate(TASKS)},
        groups=np.arange(rows),
    )
