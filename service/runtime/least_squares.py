"""Recursive least squares with forgetting whose coefficients are never negative.

Few unknowns, and one solution a batch: plain floats are five times faster here than NumPy's arrays.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

__all__ = ["Evidence"]


class Evidence:
    """Sums over everything observed: ``G = Σ w·x·xᵀ`` and ``m = Σ w·y·x`` for ``y = coefficients · x``.

    Args:
        unknowns: How many coefficients there are.
    """

    def __init__(self, unknowns: int) -> None:
        self._gram = [[0.0] * unknowns for _ in range(unknowns)]
        self._moments = [0.0] * unknowns

    def add(self, shape: Sequence[float], target: float, *, weight: float = 1.0, keep: float = 1.0) -> None:
        """Add one observation after fading everything before it to *keep*."""
        for row, x in zip(self._gram, shape, strict=True):
            scaled = weight * x
            for column, other in enumerate(shape):
                row[column] = keep * row[column] + scaled * other
        self._moments = [keep * moment + weight * target * x for moment, x in zip(self._moments, shape, strict=True)]

    def scale(self, *, weight: float, targets: float) -> None:
        """Fade everything to *weight*, as if every target had been *targets* times as large."""
        self._gram = [[weight * value for value in row] for row in self._gram]
        self._moments = [weight * targets * moment for moment in self._moments]

    def __add__(self, other: "Evidence") -> "Evidence":
        both = Evidence(len(self._moments))
        both._gram = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(self._gram, other._gram, strict=True)]
        both._moments = [a + b for a, b in zip(self._moments, other._moments, strict=True)]
        return both

    def solve(self) -> list[float]:
        """Give the coefficients, none below zero, that fit best.

        The optimum lies on one of the faces of the corner ``x >= 0``. All are tried, largest first; the best of
        those whose own optimum is feasible is the optimum (Lawson & Hanson 1974, chapter 23).
        """
        everything = range(len(self._moments))
        full = self._on_face(everything)
        if min(full) >= 0.0:
            return full
        return max(self._feasible(everything), key=self._value)

    def _value(self, solution: Sequence[float]) -> float:
        # At the optimum of a face the squared error is a constant less this.
        return sum(moment * x for moment, x in zip(self._moments, solution, strict=True))

    def _feasible(self, unknowns: range) -> Iterator[list[float]]:
        yield [0.0] * len(unknowns)
        for size in unknowns[1:]:
            for face in combinations(unknowns, size):
                solution = self._on_face(face)
                if min(solution) >= 0.0:
                    yield solution

    def _on_face(self, face: Sequence[int]) -> list[float]:
        """Solve with all coefficients off the face held at zero, by elimination; G is positive definite."""
        rows = [[self._gram[i][j] for j in face] + [self._moments[i]] for i in face]
        for step, pivot in enumerate(rows):
            for row in rows[step + 1 :]:
                factor = row[step] / pivot[step]
                for column in range(step, len(row)):
                    row[column] -= factor * pivot[column]
        solution = [0.0] * len(self._moments)
        for step in reversed(range(len(face))):
            known = sum(rows[step][column] * solution[face[column]] for column in range(step + 1, len(face)))
            solution[face[step]] = (rows[step][-1] - known) / rows[step][step]
        return solution
