"""The array types that cross package borders, and the layout of the graph's inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "GraphInputs", "IntArray", "Predictions", "SideArrays"]

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
Predictions = Mapping[str, FloatArray]
"""Head name to one value a candidate, in the unit that the manifest states."""


@dataclass(frozen=True, kw_only=True)
class SideArrays:
    """Encoded features of one side, packed into two arrays so that a graph has few inputs.

    Args:
        ids: Table rows, int64, ``[rows, id columns]``.
        dense: Scaled numbers, float32, ``[rows, dense columns]``.
    """

    ids: IntArray
    dense: NDArray[np.float32]

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.ids)

    def take(self, rows: NDArray[np.int64] | slice) -> "SideArrays":
        """Select *rows*, in that order."""
        return SideArrays(ids=self.ids[rows], dense=self.dense[rows])

    def feeds(self, side: str) -> dict[str, NDArray[Any]]:
        """Name the arrays as an exported graph does; what is empty is left out there too."""
        named: dict[str, NDArray[Any]] = {f"{side}_ids": self.ids, f"{side}_dense": self.dense}
        return {name: array for name, array in named.items() if array.shape[1]}

    def differs(self, other: "SideArrays") -> NDArray[np.bool_]:
        """Tell, row by row, whether the values of *other* are others; bool ``[rows]``."""
        return np.asarray((self.ids != other.ids).any(axis=1) | (self.dense != other.dense).any(axis=1))


@dataclass(frozen=True, kw_only=True)
class GraphInputs:
    """The factored inputs: every request once, every candidate once, and which belongs to which.

    Args:
        request: R rows, one a request.
        candidate: N rows, one a candidate.
        request_index: int64 ``[N]``: the row of *request* that each candidate belongs to.
        rows: int64 ``[N]``: where each candidate stands, as it is here, in the item table; -1 where it does not,
            None where none does.
    """

    request: SideArrays
    candidate: SideArrays
    request_index: IntArray
    rows: IntArray | None = None

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Name the arrays as the exported graph does; empty sides are left out there too."""
        return {
            **self.request.feeds("request"),
            **self.candidate.feeds("candidate"),
            "request_index": self.request_index,
        }

    def take(self, rows: NDArray[np.int64] | slice) -> "GraphInputs":
        """Select candidates, in that order; all requests stay."""
        return GraphInputs(
            request=self.request,
            candidate=self.candidate.take(rows),
            request_index=self.request_index[rows],
            rows=None if self.rows is None else self.rows[rows],
        )

    @classmethod
    def single(cls, request: SideArrays, candidate: SideArrays, rows: IntArray | None = None) -> "GraphInputs":
        """Join one request with all its candidates."""
        index = np.zeros(len(candidate), dtype=np.int64)
        return cls(request=request, candidate=candidate, request_index=index, rows=rows)

    @classmethod
    def merge(cls, parts: "list[GraphInputs]") -> "GraphInputs":
        """Lay several batches behind each other, so that one graph call answers them all."""
        if len(parts) == 1:
            return parts[0]
        shifts = np.cumsum([0, *(len(part.request) for part in parts[:-1])])
        return cls(
            request=_stack([part.request for part in parts]),
            candidate=_stack([part.candidate for part in parts]),
            request_index=np.concatenate(
                [part.request_index + shift for part, shift in zip(parts, shifts, strict=True)]
            ),
            rows=_stack_rows(parts),
        )


def _stack_rows(parts: list[GraphInputs]) -> IntArray | None:
    if all(part.rows is None for part in parts):
        return None
    nowhere = [np.full(len(part.request_index), -1) if part.rows is None else part.rows for part in parts]
    return np.concatenate(nowhere)


def _stack(sides: list[SideArrays]) -> SideArrays:
    return SideArrays(
        ids=np.concatenate([side.ids for side in sides]),
        dense=np.concatenate([side.dense for side in sides]),
    )
