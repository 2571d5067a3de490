"""Kept requests in blocks: small enough that no step over one takes long, large enough that NumPy does the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray
from contract.fusion import Fusion
from service.ranking.kept import KeptModel, KeptRequest
from service.ranking.lists import Lists

__all__ = ["BLOCK_ROWS", "Block", "parts_of"]

BLOCK_ROWS = 8_192
"""About the size at which all arrays of a block stay in a core's own cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Requests of one model version, their candidates end to end.

    Args:
        requests: R of them.
        lists: Where their candidates lie.
        heads: Float32 ``[heads, N]``.
        items: Hashed ids, uint64 ``[N]``.
    """

    model: KeptModel
    requests: tuple[KeptRequest, ...]
    lists: Lists
    heads: NDArray[np.float32]
    items: NDArray[np.uint64]

    @classmethod
    def of(cls, requests: Sequence[KeptRequest]) -> "Block":
        """Join requests of one model version, at least one."""
        return cls(
            model=requests[0].model,
            requests=tuple(requests),
            lists=Lists.of_lengths(np.array([request.size for request in requests], dtype=np.int64)),
            heads=np.concatenate([request.heads for request in requests], axis=1),
            items=np.concatenate([request.items for request in requests]),
        )

    def scores(self, fusion: Fusion) -> FloatArray:
        """Score every candidate, float64 ``[N]``; -inf where a score is not finite.

        Args:
            fusion: Compiled for this model, with the policy ``bottom``.
        """
        scores, _ = score_lists(fusion, self._values(fusion.reads), self.lists)
        return scores

    def _values(self, names: frozenset[str]) -> Mapping[str, Any]:
        """Give what a formula reads, each ``[N]``; later ones win, as in :mod:`service.ranking.ranker`."""
        model = self.model
        values: dict[str, Any] = {name: self.heads[row] for row, name in enumerate(model.heads) if name in names}
        for row, name in enumerate(model.request_numbers):
            if name in names:
                values[name] = self.lists.each(np.array([each.request_numbers[row] for each in self.requests]))
        for row, name in enumerate(model.candidate_numbers):
            if name in names:
                values[name] = np.concatenate([each.numbers[row] for each in self.requests])
        return values


def score_lists(fusion: Fusion, values: Mapping[str, Any], lists: Lists) -> tuple[FloatArray, int]:
    """Score list by list."""
    spans = [slice(start, start + length) for start, length in zip(lists.starts, lists.lengths, strict=True)]
    parts = [
        fusion.score({name: column[span] for name, column in values.items()}, span.stop - span.start) for span in spans
    ]
    return np.concatenate([scores for scores, _ in parts]), sum(count for _, count in parts)


def parts_of(requests: Sequence[KeptRequest], *, rows: int = BLOCK_ROWS) -> list[list[KeptRequest]]:
    """Cut requests into parts of one version and about *rows* candidates; a larger request is a part by itself."""
    parts: list[list[KeptRequest]] = []
    filling: dict[KeptModel, tuple[list[KeptRequest], int]] = {}
    for request in requests:
        part, filled = filling.get(request.model, ([], 0))
        if not part or filled + request.size > rows:
            part, filled = [], 0
            parts.append(part)
        part.append(request)
        filling[request.model] = part, filled + request.size
    return parts
