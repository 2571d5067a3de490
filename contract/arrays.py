"""The array types that cross package borders, and the layout of the graph's inputs."""

from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True, kw_only=True)
class GraphInputs:
    """The factored inputs: every request once, every candidate once, and which belongs to which.

    Args:
        request: R rows, one a request.
        candidate: N rows, one a candidate.
        request_index: int64 ``[N]``: the row of *request* that each candidate belongs to.
    """

    request: SideArrays
    candidate: SideArrays
    request_index: IntArray

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Name the arrays as the exported graph does; empty sides are left out there too."""
        return dict(self._named())

    def _named(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for side, arrays in (("request", self.request), ("candidate", self.candidate)):
            if arrays.ids.shape[1]:
                yield f"{side}_ids", arrays.ids
            if arrays.dense.shape[1]:
                yield f"{side}_dense", arrays.dense
        yield "request_index", self.request_index

    def take(self, rows: NDArray[np.int64] | slice) -> "GraphInputs":
        """Select candidates, in that order; all requests stay."""
        return GraphInputs(
            request=self.request, candidate=self.candidate.take(rows), request_index=self.request_index[rows]
        )

    @classmethod
    def single(cls, request: SideArrays, candidate: SideArrays) -> "GraphInputs":
        """Join one request with all its candidates."""
        return cls(request=request, candidate=candidate, request_index=np.zeros(len(candidate), dtype=np.int64))

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
        )


def _stack(sides: list[SideArrays]) -> SideArrays:
    return SideArrays(
        ids=np.concatenate([side.ids for side in sides]),
        dense=np.concatenate([side.dense for side in sides]),
    )
