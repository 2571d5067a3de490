"""Kept requests in blocks: small enough that no step over one takes long, large enough that NumPy does the work."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray
from service.ports import Scorer
from service.ranking.kept import KeptModel, KeptRequest, Unpacked
from service.ranking.lists import Lists

__all__ = ["PART_ROWS", "Block", "Part", "parts_of"]

PART_ROWS = 8_192
"""About the size at which all arrays of a block stay in a core's own cache."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some requests of one model version, as they travel to another process: few objects, and no copy of the numbers.

    Args:
        model: Name and version.
        packed: See :class:`service.ranking.kept.Unpacked`.
    """

    model: tuple[str, int]
    sizes: tuple[int, ...]
    taken_at: tuple[float, ...]
    turned: tuple[bool, ...]
    segments: tuple[tuple[str, ...], ...]
    packed: tuple[bytes, ...]

    @classmethod
    def of(cls, requests: list[KeptRequest]) -> "Part":
        """Join requests of one model version, at least one."""
        return cls(
            model=requests[0].model.key,
            sizes=tuple(request.size for request in requests),
            taken_at=tuple(request.taken_at for request in requests),
            turned=tuple(request.turned for request in requests),
            segments=tuple(request.segments for request in requests),
            packed=tuple(request.packed for request in requests),
        )


def parts_of(requests: Iterable[KeptRequest], *, rows: int = PART_ROWS) -> Iterator[Part]:
    """Cut requests into parts of one version and about *rows* candidates; a larger request is a part by itself."""
    filling: dict[KeptModel, list[KeptRequest]] = {}
    filled: dict[KeptModel, int] = {}
    for request in requests:
        part = filling.setdefault(request.model, [])
        if part and filled[request.model] + request.size > rows:
            yield Part.of(part)
            part.clear()
        part.append(request)
        filled[request.model] = request.size + (filled[request.model] if len(part) > 1 else 0)
    yield from (Part.of(part) for part in filling.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A part with its numbers laid out for NumPy: N candidates of R requests.

    Args:
        lists: Where the candidates of each request lie.
        request_numbers: Float64 ``[R, request numbers]``.
        numbers: Float64 ``[candidate numbers, N]``.
        items: Hashed ids, uint64 ``[N]``.
        heads: Float32 ``[heads, N]``.
    """

    model: KeptModel
    lists: Lists
    request_numbers: NDArray[np.float64]
    numbers: NDArray[np.float64]
    items: NDArray[np.uint64]
    heads: NDArray[np.float32]

    @classmethod
    def of(cls, part: Part, model: KeptModel) -> "Block":
        """Unpack a part that *model* scored."""
        requests = [Unpacked.of(*both, model) for both in zip(part.packed, part.sizes, strict=True)]
        return cls(
            model=model,
            lists=Lists.of_lengths(np.array(part.sizes, dtype=np.int64)),
            request_numbers=np.array([request.request_numbers for request in requests]),
            numbers=np.concatenate([request.numbers for request in requests], axis=1),
            items=np.concatenate([request.items for request in requests]),
            heads=np.concatenate([request.heads for request in requests], axis=1),
        )

    def scores(self, fusion: Scorer) -> FloatArray:
        """Score every candidate, float64 ``[N]``; -inf where a score is not finite.

        Args:
            fusion: Compiled for this model, with the policy ``bottom``.
        """
        values = self._values(fusion.reads)
        scores, _ = fusion.score(values, self.lists.size, lists=self.lists.offsets)
        return scores

    def _values(self, names: frozenset[str]) -> Mapping[str, Any]:
        """Give what a formula reads, each ``[N]``; later ones win, as in :mod:`service.ranking.ranker`."""
        model = self.model
        values: dict[str, Any] = {name: self.heads[row] for row, name in enumerate(model.heads) if name in names}
        for row, name in enumerate(model.request_numbers):
            if name in names:
                values[name] = self.lists.each(self.request_numbers[:, row])
        for row, name in enumerate(model.candidate_numbers):
            if name in names:
                values[name] = self.numbers[row]
        return values
