"""Batches of whole lists, shuffled with sequential reads."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.arrays import GraphInputs, SideArrays
from training.data.columns import EncodedSplit

__all__ = ["Batch", "batches", "shuffled_batches"]

_BLOCK = 512
_BLOCKS_IN_HAND = 64


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some lists.

    Args:
        labels: By name, float32 ``[N]`` with NaN where not defined.
        weights: float32 ``[N]``, 1 in the mean of the split; None where all rows weigh the same.
    """

    inputs: GraphInputs
    labels: dict[str, NDArray[np.float32]]
    weights: NDArray[np.float32] | None = None


def batches(split: EncodedSplit, *, requests: int) -> Iterator[Batch]:
    """Go through a split in its own order."""
    for start in range(0, split.num_requests, requests):
        stop = min(start + requests, split.num_requests)
        rows = slice(int(split.offsets[start]), int(split.offsets[stop]))
        labels = {name: np.asarray(column[rows]) for name, column in split.labels.items()}
        weights = None if split.weights is None else np.asarray(split.weights[rows])
        yield Batch(inputs=split.span(start, stop), labels=labels, weights=weights)


def shuffled_batches(split: EncodedSplit, *, requests: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Go through a split once in random order.

    Blocks of neighbouring lists are drawn at random and mixed a few dozen at a time, so that the disk sees
    long reads and memory holds those blocks alone.
    """
    starts = rng.permutation(np.arange(0, split.num_requests, _BLOCK))
    for first in range(0, len(starts), _BLOCKS_IN_HAND):
        hand = starts[first : first + _BLOCKS_IN_HAND]
        lists = np.concatenate([np.arange(s, min(s + _BLOCK, split.num_requests)) for s in hand])
        rng.shuffle(lists)
        for start in range(0, len(lists), requests):
            yield _gather(split, lists[start : start + requests])


def _gather(split: EncodedSplit, lists: NDArray[np.int64]) -> Batch:
    starts, lengths = split.offsets[lists], split.offsets[lists + 1] - split.offsets[lists]
    index = np.repeat(np.arange(len(lists)), lengths)
    within = np.arange(len(index)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = starts[index] + within
    inputs = GraphInputs(
        request=_taken(split.request, lists), candidate=_taken(split.candidate, rows), request_index=index
    )
    return Batch(
        inputs=inputs,
        labels={name: column[rows] for name, column in split.labels.items()},
        weights=None if split.weights is None else split.weights[rows],
    )


def _taken(side: SideArrays, rows: NDArray[np.int64]) -> SideArrays:
    return SideArrays(ids=np.asarray(side.ids[rows]), dense=np.asarray(side.dense[rows]))
